"""Where the master key comes from, and what is said when it does not come."""

import base64
import errno
import os
import sys
from pathlib import Path

import pytest
from files import mode

from antiphon.core.errors import CallerError
from antiphon.storage.master_key import VARIABLE, find_source

KEY = bytes(range(32))
TEXT = base64.b64encode(KEY).decode()


def test_it_is_made_once_and_for_its_owner_alone(tmp_path):
    source = find_source(tmp_path, {})
    assert source.read() is None
    made = source.make()
    assert made == source.make() == source.read() == find_source(tmp_path, {}).read()
    assert mode(tmp_path / "master.key") == 0o600
    os.chmod(tmp_path / "master.key", 0o644)
    source.read()
    assert mode(tmp_path / "master.key") == 0o600


def test_every_source_gives_the_same_key(tmp_path):
    (tmp_path / "key").write_text(f"{TEXT}\n")
    prints = (sys.executable, "-c", f"print({KEY.hex()!r})")
    sources = (
        find_source(tmp_path, {VARIABLE: TEXT}),
        find_source(tmp_path, {}, file=str(tmp_path / "key")),
        find_source(tmp_path, {}, command=prints),
    )
    assert [source.read() for source in sources] == [KEY] * 3
    assert all(TEXT not in repr(source) for source in sources)


def test_a_secret_that_is_mounted_is_used_as_it_is(tmp_path, monkeypatch, caplog):
    """Read-only, and with the permissions that an orchestrator gives it."""

    def refuse(path, mode):
        raise OSError(errno.EROFS, "Read-only file system", str(path))

    (tmp_path / "key").write_text(TEXT)
    (tmp_path / "key").chmod(0o440)
    monkeypatch.setattr(Path, "chmod", refuse)
    assert find_source(tmp_path, {}, file=str(tmp_path / "key")).read() == KEY
    assert [record.reason for record in caplog.records] == [f"{tmp_path / 'key'}: Read-only file system"]
    (tmp_path / "key").rename(tmp_path / "master.key")
    with pytest.raises(CallerError, match="Read-only"):
        find_source(tmp_path, {}).read()


def test_only_one_may_be_set(tmp_path):
    with pytest.raises(CallerError, match="several"):
        find_source(tmp_path, {VARIABLE: TEXT}, file="key")


def test_a_configured_file_is_never_made(tmp_path):
    source = find_source(tmp_path, {}, file=str(tmp_path / "nowhere"))
    assert source.read() is None
    with pytest.raises(CallerError, match="does not exist"):
        source.make()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "command", [("/nowhere/at-all",), (sys.executable, "-c", "raise SystemExit(3)"), (sys.executable, "-c", "")]
)
def test_a_command_that_fails_is_named_and_not_what_it_printed(tmp_path, command):
    with pytest.raises(CallerError, match=command[0]):
        find_source(tmp_path, {}, command=command).read()
