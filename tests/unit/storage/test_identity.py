import uuid
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from antiphon.core.errors import InternalError
from antiphon.storage.identity import server_id


def test_a_directorys_server_has_one_id_for_ever(tmp_path):
    made = server_id(tmp_path)
    assert str(uuid.UUID(made)) == made == server_id(tmp_path)
    (tmp_path / "other").mkdir()
    assert server_id(tmp_path / "other") != made


def test_an_id_that_makes_no_sense_is_not_replaced(tmp_path):
    (tmp_path / "server-id").write_text("not one")
    with pytest.raises(InternalError, match="server-id"):
        server_id(tmp_path)
    assert (tmp_path / "server-id").read_text() == "not one"


def test_servers_that_start_at_once_have_one_id(tmp_path):
    at_once = 8
    for attempt in range(10):
        directory = tmp_path / str(attempt)
        directory.mkdir()
        start = Barrier(at_once)

        def ask(directory=directory, start=start):
            start.wait()
            return server_id(directory)

        with ThreadPoolExecutor(at_once) as pool:
            ids = {asked.result() for asked in [pool.submit(ask) for _ in range(at_once)]}
        assert ids == {server_id(directory)}
        assert [path.name for path in directory.iterdir()] == ["server-id"]
