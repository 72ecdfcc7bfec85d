"""The directory's files: of other versions, written by hand, lost, and private."""

import json
import sqlite3
from contextlib import closing
from dataclasses import replace

import pytest
from files import mode

from antiphon.core.errors import InternalError, KeysUnavailable
from antiphon.core.identity import Scope
from antiphon.core.policy import STRICTEST, Marking, Policy
from antiphon.stores.sqlite.directory import SqliteDirectory
from antiphon.trust.control import Control

NOW = 1_767_225_600_000


def test_no_secret_is_in_the_file(control, directory):
    secret = control.prepare(None, NOW)
    control.prepare("a-key-of-my-own-choice", NOW)
    content = directory.path.read_bytes()
    assert secret.encode() not in content
    assert secret.rpartition("_")[2].encode() not in content
    assert b"a-key-of-my-own-choice" not in content


def test_a_place_that_cannot_be_written_is_an_error_in_words(tmp_path):
    with pytest.raises(InternalError, match="cannot be opened"):
        SqliteDirectory(tmp_path / "nowhere")


def test_a_database_of_another_version_is_refused(control, directory):
    with sqlite3.connect(directory.path) as connection:
        connection.execute("PRAGMA user_version=99")
    connection.close()
    with pytest.raises(InternalError, match="version 99"):
        SqliteDirectory(directory.path.parent)


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
        control = Control(SqliteDirectory(tmp_path))
        assert [(p.id, p.name, p.created_unix_ms) for p in control.list_projects()] == [("acme", "Acme", 1)]
    assert control.list_projects()[0].policy.keep_answers_s == 0
    assert control.list_projects()[0].policy.marking is Marking.MARKED
    assert control.list_projects()[0].policy.weight == 1
    assert control.change_project("acme", NOW, keep_answers_s=60).policy.keep_answers_s == 60


# -- what another version or a hand wrote ------------------------------------------------------------------------------


def change(directory, *statements):
    with closing(sqlite3.connect(directory.path)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


def test_an_unknown_scope_grants_nothing_and_takes_nothing(control, directory):
    key, _ = control.create_key("default", "", [Scope.SPEAK], NOW)
    for stored, granted in (
        ("teleport", set()),
        ("teleport speak", {Scope.SPEAK}),
        ("", set()),
        ("SPEAK admin,usage", set()),
    ):
        change(directory, f"UPDATE keys SET scopes = '{stored}'")
        assert [each.scopes for each in control.list_keys()] == [granted]
    assert control.revoke_key(key.id, NOW + 1).revoked_unix_ms == NOW + 1


def stored(directory):
    with closing(sqlite3.connect(directory.path)) as connection:
        return json.loads(connection.execute("SELECT policy FROM projects").fetchone()[0])


def test_what_is_not_known_in_a_policy_is_the_strictest_and_stays_as_it_stands(control, directory, caplog):
    control.create_project("acme", "", NOW, keep_answers_s=60)
    change(directory, """UPDATE projects SET policy = json_set(policy, '$.marking', 'holographic', '$.mood', 'blue')""")
    assert [project.policy for project in control.list_projects()] == [
        Policy(keep_answers_s=60, marking=Marking.SIGNED)
    ]
    assert control.change_project("acme", NOW, keep_answers_s=70).policy.marking is Marking.SIGNED
    assert stored(directory) == {
        "keep_answers_s": 70, "marking": "holographic", "weight": 1, "tags": "hashed", "stripe_customer": "",
        "consent": "none",
        "redact": "", "redact_as": "entity_name", "redact_patterns": "", "redact_words": "", "mood": "blue",
        "prompts": "plain", "disclosure": "", "organisation": "", "budgets": "", "limits": "", "models": "",
        "regions": "", "processors": "", "agreements": "", "max_retention": "",
    }  # fmt: skip
    assert {(record.key, record.reason) for record in caplog.records} == {("acme", "marking, mood")}
    for text in ('{"keep_answers_s": -1}', '{"keep_answers_s": 4611686018427387904}', '{"keep_answers_s": true}'):
        change(directory, f"UPDATE projects SET policy = '{text}'")
        assert [project.policy.keep_answers_s for project in control.list_projects()] == [0]
    for text in ("", "[]", "null", "not JSON"):
        change(directory, f"UPDATE projects SET policy = '{text}'")
        assert [project.policy for project in control.list_projects()] == [STRICTEST]
        changed = control.change_project("acme", NOW, weight=2).policy
        assert changed == replace(STRICTEST, weight=2)  # who sets one field grants nothing beside it


def test_columns_of_a_later_version_and_rows_without_sense_disturb_nobody(control, directory, caplog):
    kept, _ = control.create_key("default", "", [Scope.SPEAK], NOW)
    bad, _ = control.create_key("default", "", [Scope.SPEAK], NOW)
    change(
        directory,
        "ALTER TABLE keys ADD COLUMN mood TEXT",
        "ALTER TABLE projects ADD COLUMN mood TEXT",
        f"UPDATE keys SET name = CAST(x'ff' AS TEXT), project = CAST(x'fe' AS TEXT) WHERE id = '{bad.id}'",
    )
    assert {key.id for key in control.list_keys()} == {kept.id, bad.id}
    change(
        directory,
        "ALTER TABLE keys RENAME TO old",
        "CREATE TABLE keys AS SELECT * FROM old",
        f"UPDATE keys SET scopes = NULL WHERE id = '{bad.id}'",
    )
    assert [key.id for key in control.list_keys()] == [kept.id]
    assert [record.key for record in caplog.records] == [bad.id]


# -- the file and its directory ----------------------------------------------------------------------------------------


def test_it_is_private_and_tightened(tmp_path):
    path = SqliteDirectory(tmp_path).path
    assert mode(path) == 0o600
    path.chmod(0o644)
    SqliteDirectory(tmp_path)
    assert mode(path) == 0o600


def test_one_that_was_removed_is_not_made_anew(control, directory):
    directory.path.unlink()
    for use in (
        control.list_projects,
        control.list_keys,
        lambda: control.create_key("default", "", [Scope.SPEAK], NOW),
        lambda: control.create_project("acme", "", NOW),
    ):
        with pytest.raises(KeysUnavailable, match=r"control.db cannot be"):
            use()
    assert not directory.path.exists()


def test_a_directory_keeps_its_number_and_knows_whether_it_had_a_ledger(directory, tmp_path):
    number, had_ledger = directory.directory()
    assert (directory.directory(), had_ledger) == ((number, False), False)
    directory.has_ledger()
    assert SqliteDirectory(tmp_path).directory() == (number, True)
    (tmp_path / "other").mkdir()
    assert SqliteDirectory(tmp_path / "other").directory()[0] != number


def test_a_place_that_cannot_be_had_is_an_error_of_ours(tmp_path):
    (tmp_path / "control.db").mkdir()
    with pytest.raises(InternalError, match="cannot be opened"):
        SqliteDirectory(tmp_path)
