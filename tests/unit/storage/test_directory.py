import os

import pytest
from files import mode

from antiphon.core.errors import CallerError, LedgerUnavailable
from antiphon.storage import directory
from antiphon.storage.directory import lock_directory, open_directory, warn_of_writable_models


def test_a_new_one_is_private(tmp_path):
    made = open_directory(tmp_path / "one" / "two")
    assert mode(made) == 0o700


@pytest.mark.parametrize("holds", [[], ["models"], ["control.db", "log"], ["ledger.db"]])
def test_one_of_ours_is_tightened(tmp_path, holds):
    for name in holds:
        (tmp_path / name).touch()
    tmp_path.chmod(0o755)
    assert mode(open_directory(tmp_path)) == 0o700


@pytest.mark.parametrize(("holds", "wide"), [("letters", 0o755), ("models", 0o1777)])
def test_one_that_is_used_for_something_else_is_refused_as_it_is(tmp_path, holds, wide):
    (tmp_path / holds).touch()
    tmp_path.chmod(wide)
    with pytest.raises(CallerError, match=r"setting data_dir: .* other things.*chmod 700"):
        open_directory(tmp_path)
    assert mode(tmp_path) == wide
    tmp_path.chmod(0o700)
    assert open_directory(tmp_path) == tmp_path


def test_one_of_somebody_else_is_refused_where_others_can_look_inside(tmp_path, monkeypatch):
    me = os.geteuid()
    monkeypatch.setattr(directory.os, "geteuid", lambda: me + 1)
    tmp_path.chmod(0o750)
    with pytest.raises(CallerError, match=f"belongs to user {me}"):
        open_directory(tmp_path)
    tmp_path.chmod(0o700)
    open_directory(tmp_path)


def test_a_file_is_none(tmp_path):
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(CallerError, match="setting data_dir"):
            open_directory(path)


def test_one_process_has_it_until_it_lets_go(tmp_path):
    held = lock_directory(tmp_path)
    with pytest.raises(LedgerUnavailable, match="in use by another server"):
        lock_directory(tmp_path)
    assert list(tmp_path.iterdir()) == []  # there is nothing to delete
    os.close(held)
    os.close(lock_directory(tmp_path))


def test_weights_that_others_can_write_are_named(tmp_path, caplog):
    (tmp_path / "models").mkdir()
    warn_of_writable_models(tmp_path)
    assert caplog.records == []
    (tmp_path / "models").chmod(0o775)
    warn_of_writable_models(tmp_path)
    assert [record.reason for record in caplog.records] == ["models is mode 775"]
