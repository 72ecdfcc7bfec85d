"""What tests do to files, and what they look at."""

import shutil
import stat


def mode(path):
    """The permissions of a file or folder."""
    return stat.S_IMODE(path.stat().st_mode)


def replace(path):
    """Put another file with the same content in place of this one."""
    shutil.copy(path, path.with_suffix(".new"))
    path.with_suffix(".new").rename(path)
