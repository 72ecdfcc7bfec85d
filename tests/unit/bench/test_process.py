import os
import subprocess
import sys

import pytest

from antiphon.bench.process import usage
from antiphon.core.errors import CallerError


def test_a_process_is_counted_with_its_descendants() -> None:
    alone = usage(os.getpid())
    assert alone.cpu_s > 0
    assert alone.rss_bytes > 1_000_000
    # The child holds 200 MB, says so, and waits for its input to close.
    code = "import sys; held = b'x' * 200_000_000; print('ready', flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        assert usage(os.getpid()).rss_bytes - alone.rss_bytes > 150_000_000
        child.communicate()


def test_a_process_that_is_not_there_is_an_error() -> None:
    with pytest.raises(CallerError, match="not found"):
        usage(2**22 + 1)
