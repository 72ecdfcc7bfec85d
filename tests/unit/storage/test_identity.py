import uuid

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
