import os
import sqlite3
import stat

import pytest
from files import mode, replace

from antiphon.storage.files import WatchedFile, private_file, write_whole


def test_a_database_is_private_with_all_that_belongs_to_it(tmp_path):
    path = tmp_path / "a.db"
    path.touch(mode=0o644)
    path.chmod(0o644)
    connection = sqlite3.connect(private_file(path), isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("CREATE TABLE t (x)")
    assert {name.name: mode(name) for name in tmp_path.iterdir()} == dict.fromkeys(
        ("a.db", "a.db-wal", "a.db-shm"), 0o600
    )
    (tmp_path / "a.db-wal").chmod(0o644)
    private_file(path)
    assert mode(tmp_path / "a.db-wal") == 0o600
    connection.close()


def test_what_is_written_whole_is_private_and_replaces(tmp_path):
    path = tmp_path / "time"
    for data in (b"one", b"two"):
        write_whole(path, data)
        assert (path.read_bytes(), mode(path), len(list(tmp_path.iterdir()))) == (data, 0o600, 1)


def test_the_name_of_what_is_written_whole_is_durable_too(tmp_path, monkeypatch):
    synced, sync = [], os.fsync

    def note(descriptor):
        synced.append((stat.S_ISDIR(os.fstat(descriptor).st_mode), (tmp_path / "time").exists()))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    write_whole(tmp_path / "time", b"one")
    assert synced == [(False, False), (True, True)]


@pytest.fixture
def path(tmp_path):
    (tmp_path / "kept").write_bytes(b"1234")
    return tmp_path / "kept"


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda path: path.unlink(), "kept was removed"),
        (replace, "kept was replaced"),
        (lambda path: os.truncate(path, 0), "kept was emptied"),
        (lambda path: path.parent.rename(path.parent.with_name("elsewhere")), "kept was removed"),
    ],
)
def test_what_happened_to_a_file_is_told(path, harm, said):
    watched = WatchedFile(path)
    assert watched.trouble() is None
    harm(path)
    assert watched.trouble() == said


def test_its_only_writer_knows_how_large_it_is(path):
    watched = WatchedFile(path)
    os.truncate(path, 2)
    assert watched.trouble() is None
    watched.settle()
    os.truncate(path, 1)
    assert watched.trouble() == "kept was cut short"
    path.unlink()
    watched.settle()
    assert watched.trouble() == "kept was removed"


def test_one_that_comes_back_is_the_same(path):
    watched = WatchedFile(path)
    path.rename(path.with_suffix(".aside"))
    assert watched.trouble()
    path.with_suffix(".aside").rename(path)
    assert watched.trouble() is None
