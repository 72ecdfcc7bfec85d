import sqlite3

import pytest

from antiphon.core.errors import CallerError, Conflict, InternalError, NotFound
from antiphon.core.identity import Scope
from antiphon.trust.control import ENVIRONMENT_KEY_ID, Control, Marking

NOW = 1_767_225_600_000


@pytest.fixture
def control(tmp_path):
    return Control(tmp_path / "control.db")


def test_the_first_start_makes_one_key_and_says_it_once(control):
    secret = control.prepare(None, NOW)
    assert secret is not None
    (key,) = control.list_keys()
    assert key.project == "default"
    assert key.scopes == frozenset(Scope)
    assert control.prepare(None, NOW) is None
    assert control.list_keys() == [key]
    assert [project.id for project in control.list_projects()] == ["default"]


def test_a_key_from_the_environment_holds_as_long_as_it_is_there(control):
    assert control.prepare("a-key-of-my-own-choice", NOW) is None
    (key,) = control.list_keys()
    assert (key.id, key.project, key.scopes) == (ENVIRONMENT_KEY_ID, "default", frozenset(Scope))
    assert control.prepare(None, NOW + 1) is not None
    assert {key.id: key.holds(NOW + 2) for key in control.list_keys()}[ENVIRONMENT_KEY_ID] is False
    control.prepare("a-key-of-my-own-choice", NOW + 3)
    assert {key.id: key.holds(NOW + 4) for key in control.list_keys()}[ENVIRONMENT_KEY_ID] is True


@pytest.mark.parametrize(
    "secret", ["", "fifteen-chars-x", "with a space in it", "umlaut-ä-in-the-key", "line\nbreak-1234567"]
)
def test_a_key_from_the_environment_that_will_not_do_is_refused(control, secret):
    with pytest.raises(CallerError, match="ANTIPHON_API_KEY"):
        control.prepare(secret, NOW)
    assert control.list_keys() == []


def test_no_secret_is_in_the_file(control):
    secret = control.prepare(None, NOW)
    control.prepare("a-key-of-my-own-choice", NOW)
    content = control.path.read_bytes()
    assert secret.encode() not in content
    assert secret.rpartition("_")[2].encode() not in content
    assert b"a-key-of-my-own-choice" not in content


def test_projects_have_an_id_and_a_name(control):
    control.create_project("acme", "Acme Inc.", NOW)
    assert [(project.id, project.name) for project in control.list_projects()] == [("acme", "Acme Inc.")]
    with pytest.raises(Conflict):
        control.create_project("acme", "", NOW)


@pytest.mark.parametrize("project_id", ["", "Acme", "a b", "-a", "ä", "a" * 64, "a/b", "a\n"])
def test_what_is_not_a_project_id_is_refused(control, project_id):
    with pytest.raises(CallerError):
        control.create_project(project_id, "", NOW)


@pytest.mark.parametrize("name", ["n" * 201, "\x1b[2J", "two\nlines"])
def test_names_are_short_and_printable(control, name):
    with pytest.raises(CallerError):
        control.create_project("acme", name, NOW)
    with pytest.raises(CallerError):
        control.create_key("default", name, [Scope.USAGE], NOW)


def test_the_default_project_is_there_when_a_key_wants_it(control):
    key, _ = control.create_key("default", "", [Scope.USAGE], NOW)
    assert [project.id for project in control.list_projects()] == [key.project] == ["default"]
    assert control.prepare(None, NOW) is None


def test_a_place_that_cannot_be_written_is_an_error_in_words(tmp_path):
    with pytest.raises(InternalError, match="cannot be opened"):
        Control(tmp_path / "nowhere" / "control.db")


def test_keys_belong_to_a_project(control):
    control.create_project("acme", "", NOW)
    control.create_project("other", "", NOW)
    key, secret = control.create_key("acme", "ci", [Scope.USAGE], NOW, NOW + 1_000)
    assert control.list_keys("acme") == [key]
    assert control.list_keys("other") == []
    assert secret.startswith(key.prefix)
    assert key.holds(NOW + 999)
    assert not key.holds(NOW + 1_000)


def test_a_key_needs_a_project_a_scope_and_a_future(control):
    control.create_project("acme", "", NOW)
    with pytest.raises(NotFound):
        control.create_key("nobody", "", [Scope.USAGE], NOW)
    with pytest.raises(CallerError):
        control.create_key("acme", "", [], NOW)
    with pytest.raises(CallerError):
        control.create_key("acme", "", [Scope.USAGE], NOW, NOW)
    assert control.list_keys() == []


def test_a_key_is_revoked_once_and_stays_listed(control):
    control.create_project("acme", "", NOW)
    key, _ = control.create_key("acme", "", [Scope.USAGE], NOW)
    assert control.revoke_key(key.id, NOW + 5).revoked_unix_ms == NOW + 5
    assert control.revoke_key(key.id, NOW + 9).revoked_unix_ms == NOW + 5
    assert [listed.id for listed in control.list_keys()] == [key.id]
    with pytest.raises(NotFound):
        control.revoke_key("nobody", NOW)


def test_a_database_of_another_version_is_refused(control):
    with sqlite3.connect(control.path) as connection:
        connection.execute("PRAGMA user_version=99")
    connection.close()
    with pytest.raises(InternalError, match="version 99"):
        Control(control.path)


def test_a_project_keeps_nothing_until_it_is_told(control):
    control.create_project("acme", "", NOW)
    assert control.list_projects()[0].keep_answers_s == 0
    assert control.change_project("acme", NOW, keep_answers_s=86_400).keep_answers_s == 86_400
    control.create_project("other", "", NOW, keep_answers_s=60)
    assert {project.id: project.keep_answers_s for project in control.list_projects()} == {"acme": 86_400, "other": 60}
    with pytest.raises(NotFound):
        control.change_project("nobody", NOW, keep_answers_s=60)


def test_a_project_says_how_its_speech_is_marked(control):
    control.create_project("acme", "", NOW, keep_answers_s=60)
    assert control.list_projects()[0].marking is Marking.MARKED
    assert control.change_project("acme", NOW, marking=Marking.SIGNED).marking is Marking.SIGNED
    assert control.change_project("acme", NOW, keep_answers_s=0).marking is Marking.SIGNED
    assert control.change_project("acme", NOW).keep_answers_s == 0
    assert control.list_projects()[0].marking is Marking.SIGNED
    control.create_project("other", "", NOW, marking=Marking.SIGNED)
    assert control.list_projects()[1].marking is Marking.SIGNED
    assert control.change_project("other", NOW, marking=Marking.MARKED).marking is Marking.MARKED


def test_the_default_project_is_there_when_its_retention_is_set(control):
    assert control.change_project("default", NOW, keep_answers_s=60).keep_answers_s == 60
    control.prepare(None, NOW)
    assert [project.keep_answers_s for project in control.list_projects()] == [60]


@pytest.mark.parametrize("seconds", [-1, 2**40])
def test_a_retention_out_of_bounds_is_refused(control, seconds):
    control.create_project("acme", "", NOW)
    with pytest.raises(CallerError):
        control.change_project("acme", NOW, keep_answers_s=seconds)
    with pytest.raises(CallerError):
        control.create_project("other", "", NOW, keep_answers_s=seconds)


def test_a_database_from_before_retention_is_brought_up_to_date(tmp_path):
    path = tmp_path / "control.db"
    with sqlite3.connect(path) as connection:
        connection.execute(
            "CREATE TABLE projects (id TEXT NOT NULL, name TEXT NOT NULL, created_unix_ms INTEGER NOT NULL,"
            " PRIMARY KEY (id)) STRICT"
        )
        connection.execute(
            "CREATE TABLE keys (id TEXT NOT NULL, project TEXT NOT NULL, name TEXT NOT NULL, scopes TEXT NOT NULL,"
            " prefix TEXT NOT NULL, sha256 BLOB NOT NULL, created_unix_ms INTEGER NOT NULL, expires_unix_ms INTEGER,"
            " revoked_unix_ms INTEGER, PRIMARY KEY (id), FOREIGN KEY(project) REFERENCES projects (id)) STRICT"
        )
        connection.execute("INSERT INTO projects VALUES ('acme', 'Acme', 1)")
        connection.execute("PRAGMA user_version=1")
    connection.close()
    for _ in range(2):
        control = Control(path)
        assert [(p.id, p.name, p.created_unix_ms) for p in control.list_projects()] == [("acme", "Acme", 1)]
    assert control.list_projects()[0].keep_answers_s == 0
    assert control.list_projects()[0].marking is Marking.MARKED
    assert control.change_project("acme", NOW, keep_answers_s=60).keep_answers_s == 60
