"""What seals the content of projects: by whose key, for which place, and what is left when a key is destroyed."""

import base64
import hmac
import json
import os
import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace

import pytest
from files import mode
from job_records import blob, job
from vaults import open_vault

from antiphon.core.audit import Author
from antiphon.core.errors import CallerError, InternalError, LedgerUnavailable, NotFound
from antiphon.core.identity import Project, Webhook, WebhookSettings
from antiphon.core.jobs import Page
from antiphon.core.sealing import Unreadable
from antiphon.core.specs import Message, Role
from antiphon.core.stores import AnswerBounds
from antiphon.core.wire import Keep
from antiphon.storage.directory import lock_directory
from antiphon.storage.master_key import find_source
from antiphon.stores import change_master_key
from antiphon.stores.sqlite import answers, directory_schema, jobs_schema
from antiphon.stores.sqlite.answers import SqliteAnswers
from antiphon.stores.sqlite.directory import SqliteDirectory
from antiphon.stores.sqlite.jobs import SqliteJobs
from antiphon.trust.pairs import Pairs

HOUR_S = 3600
WORDS = b"the-secret-words"
URL, SECRET, PASSWORD = "https://x.example/a-token-in-the-path", "wsec_0123456789", "a-password"
WEBHOOK = Webhook("wh1", "acme", "mine", URL, 5, SECRET, WebhookSettings(headers=(("authorization", PASSWORD),)))


@pytest.fixture
def vault(tmp_path):
    return open_vault(tmp_path)


@pytest.fixture
def directory(tmp_path):
    made = SqliteDirectory(tmp_path)
    for id in ("acme", "other"):
        made.add_project(Project(id, id, 0))
    return made


def test_what_is_sealed_opens_at_its_place_only(vault, tmp_path):
    sealed = vault.seal("acme", "answers.body/r1", WORDS)
    assert WORDS not in sealed
    assert sealed != vault.seal("acme", "answers.body/r1", WORDS)
    assert vault.unseal("acme", "answers.body/r1", sealed) == WORDS
    assert open_vault(tmp_path).unseal("acme", "answers.body/r1", sealed) == WORDS
    with pytest.raises(Unreadable):
        vault.unseal("acme", "answers.body/r2", sealed)
    with pytest.raises(NotFound):  # the other project has no such key
        vault.unseal("other", "answers.body/r1", sealed)
    for place in range(len(sealed)):
        changed = bytearray(sealed)
        changed[place] ^= 1
        with pytest.raises((Unreadable, NotFound)):
            vault.unseal("acme", "answers.body/r1", bytes(changed))
    for short in (b"", sealed[:20], sealed[:25]):
        with pytest.raises((Unreadable, NotFound)):
            vault.unseal("acme", "answers.body/r1", short)


def test_a_row_of_another_project_does_not_open_even_with_its_key(vault, tmp_path):
    """Who can write the files moves a row and its key to another project."""
    sealed = vault.seal("acme", "answers.body/r1", WORDS)
    with closing(sqlite3.connect(tmp_path / "keys.db")) as file, file:
        file.execute("UPDATE project_keys SET project = 'other'")
    with pytest.raises(Unreadable):
        vault.unseal("other", "answers.body/r1", sealed)


def test_the_keys_are_random_and_in_no_file_as_they_are(vault, tmp_path, directory):
    vault.seal("acme", "p", b"x")
    master = base64.b64decode((tmp_path / "master.key").read_text())
    assert mode(tmp_path / "master.key") == 0o600
    assert mode(tmp_path / "keys.db") == 0o600
    _, key = vault._key("acme", "content")
    assert len(key) == len(master) == 32
    for file in tmp_path.iterdir():
        content = file.read_bytes()
        assert key not in content
        assert file.name == "master.key" or (master not in content and base64.b64encode(master) not in content)


def test_a_retired_key_opens_what_it_sealed_and_seals_nothing_more(vault, directory):
    old = vault.seal("acme", "p", WORDS)
    theirs = vault.seal("other", "p", b"x")
    directory.retire_key("acme")
    new = vault.seal("acme", "p", WORDS)
    assert old[1:9] != new[1:9]
    assert vault.seal("other", "p", b"x")[1:9] == theirs[1:9]
    assert [vault.unseal("acme", "p", sealed) for sealed in (old, new)] == [WORDS, WORDS]


def test_with_a_destroyed_key_all_that_it_sealed_is_gone_for_good(vault, directory, tmp_path):
    sealed, theirs = vault.seal("acme", "p", WORDS), vault.seal("other", "p", WORDS)
    wrapped = sqlite3.connect(tmp_path / "keys.db").execute("SELECT wrapped FROM project_keys").fetchall()
    pseudonym = vault.pseudonym("acme", "jane")
    assert pseudonym == vault.pseudonym("acme", "jane") != vault.pseudonym("other", "jane")
    directory.destroy_keys("acme")
    assert wrapped[0][0] not in (tmp_path / "keys.db").read_bytes()
    with pytest.raises(NotFound):
        vault.unseal("acme", "p", sealed)
    assert vault.unseal("other", "p", theirs) == WORDS
    again = vault.seal("acme", "p", WORDS)
    assert vault.unseal("acme", "p", again) == WORDS
    assert vault.pseudonym("acme", "jane") != pseudonym
    with pytest.raises(NotFound):
        vault.unseal("acme", "p", sealed)


def test_no_secret_of_tags_webhooks_or_pairs_is_in_a_file(directory, tmp_path):
    directory.add_webhook(WEBHOOK)
    view = SqliteDirectory(tmp_path).view()
    assert dict(view.webhooks) == {"wh1": WEBHOOK}
    assert set(view.tag_keys) == {"acme", "other"}
    pairs = Pairs(tmp_path, directory.vault())
    _, signing = pairs.make("key-id")
    assert Pairs(tmp_path, SqliteDirectory(tmp_path).vault()).make("key-id")[1] == signing
    hidden = [*view.tag_keys.values(), pairs._master, *(each.encode() for each in (URL, SECRET, PASSWORD))]
    for file in tmp_path.iterdir():
        assert not [each for each in hidden if each in file.read_bytes()], file


def test_a_secret_that_was_moved_to_another_row_is_left_out_alone(directory, tmp_path):
    directory.add_webhook(WEBHOOK)
    directory.add_webhook(replace(WEBHOOK, id="wh2", project="other"))
    with closing(sqlite3.connect(tmp_path / "keys.db")) as file, file:
        file.execute("UPDATE webhooks SET project = 'other' WHERE id = 'wh1'")
        file.execute("UPDATE project_keys SET project = 'acme' WHERE project = 'other'")
    view = directory.view()
    assert list(view.webhooks) == ["wh2"]
    assert list(view.tag_keys) == ["acme"]


def test_what_an_earlier_version_stored_bare_is_wrapped_and_overwritten(tmp_path):
    key, pair = os.urandom(32), os.urandom(32)
    settings = json.dumps({"disabled": True, "headers": [["authorization", PASSWORD]]})
    rows = (
        ("INSERT INTO tag_keys VALUES ('acme', ?)", (key,)),
        ("INSERT INTO webhooks VALUES ('wh1', 'acme', 'mine', ?, ?, 5, ?)", (URL, SECRET, settings)),
    )
    before(tmp_path / "keys.db", directory_schema.SECRETS_MIGRATIONS, 4, *rows)
    before(tmp_path / "control.db", directory_schema.MIGRATIONS, 8)
    (tmp_path / "pairs.key").write_bytes(pair)
    for _ in range(2):
        view = SqliteDirectory(tmp_path).view()
        assert dict(view.tag_keys) == {"acme": key}
        assert view.webhooks["wh1"] == replace(WEBHOOK, settings=replace(WEBHOOK.settings, disabled=True))
        made = Pairs(tmp_path, SqliteDirectory(tmp_path).vault())
        assert made.make("k")[1] == hmac.digest(pair, b"pair of k", "sha256").hex()
    for file in tmp_path.iterdir():
        for each in (key, pair, URL.encode(), SECRET.encode(), PASSWORD.encode()):
            assert each not in file.read_bytes(), file
    change_master_key(tmp_path, find_source(tmp_path, {}), new := os.urandom(32), Author())
    again = SqliteDirectory(tmp_path, find_source(tmp_path, {"ANTIPHON_MASTER_KEY": new.hex()}))
    assert dict(again.view().tag_keys) == {"acme": key}


def test_commands_that_need_no_secret_need_no_master_key(directory, tmp_path):
    directory.add_webhook(WEBHOOK)
    (tmp_path / "master.key").unlink()
    without = SqliteDirectory(tmp_path)
    view = without.view()
    assert set(view.projects) == {"acme", "other"}
    without.set_policy("acme", {"weight": 3})
    needed = (
        lambda: view.tag_keys.get("acme"),
        lambda: list(view.webhooks.values()),
        lambda: without.add_project(Project("third", "", 0)),
        lambda: without.replace_tag_key("acme"),
        lambda: without.add_webhook(replace(WEBHOOK, id="wh2")),
        lambda: without.change_webhook("wh1", "", lambda old: old),
        lambda: without.delete_webhook("wh1"),
        lambda: without.destroy_keys("acme"),
    )
    for needs in needed:
        with pytest.raises(CallerError, match=r"the master key is missing.*--config.*ANTIPHON_MASTER_KEY"):
            needs()
    assert set(without.view().projects) == {"acme", "other"}
    assert not (tmp_path / "master.key").exists()


# -- the master key ----------------------------------------------------------------------------------------------------


def test_another_master_key_or_none_fails_at_the_start_in_words(vault, tmp_path, monkeypatch):
    vault.seal("acme", "p", WORDS)
    other = base64.b64encode(os.urandom(32)).decode()
    with pytest.raises(CallerError, match=r"several|not the one"):
        open_vault(tmp_path, {"ANTIPHON_MASTER_KEY": other})
    (tmp_path / "master.key").rename(tmp_path / "elsewhere")
    with pytest.raises(CallerError, match="missing") as raised:
        open_vault(tmp_path)
    assert "keys.db" in raised.value.message
    assert not (tmp_path / "master.key").exists()  # none is made in place of a lost one
    for text in ("", "short", other[:-4], "!" * 44):
        (tmp_path / "master.key").write_text(text)
        with pytest.raises(CallerError, match="invalid") as raised:
            open_vault(tmp_path)
        assert not text or text not in raised.value.message
    (tmp_path / "master.key").write_text(other)
    with pytest.raises(CallerError, match="not the one"):
        open_vault(tmp_path)
    shutil.copy(tmp_path / "elsewhere", tmp_path / "master.key")
    assert open_vault(tmp_path).seal("acme", "p", WORDS)


def test_it_comes_from_the_environment_in_either_form(tmp_path):
    key = os.urandom(32)
    sealed = open_vault(tmp_path, {"ANTIPHON_MASTER_KEY": key.hex()}).seal("acme", "p", WORDS)
    again = open_vault(tmp_path, {"ANTIPHON_MASTER_KEY": base64.b64encode(key).decode()})
    assert again.unseal("acme", "p", sealed) == WORDS
    assert not (tmp_path / "master.key").exists()


def test_the_master_key_is_changed_with_all_that_it_protects(vault, directory, tmp_path):
    sealed = vault.seal("acme", "p", WORDS)
    directory.retire_key("acme")
    later = vault.seal("acme", "p", WORDS)
    new = os.urandom(32)
    directory.add_webhook(WEBHOOK)
    before = directory.view()
    assert change_master_key(tmp_path, find_source(tmp_path, {}), new, Author("cli:0", 7)) == 5
    assert directory.changes()[1][-1].record.action == "master_key.change"
    with pytest.raises(CallerError, match="not the one"):
        open_vault(tmp_path)
    set_new = {"ANTIPHON_MASTER_KEY": new.hex()}
    again = open_vault(tmp_path, set_new)
    assert [again.unseal("acme", "p", each) for each in (sealed, later)] == [WORDS, WORDS]
    after = SqliteDirectory(tmp_path, find_source(tmp_path, set_new)).view()
    assert dict(after.tag_keys) == dict(before.tag_keys)
    assert dict(after.webhooks) == {"wh1": WEBHOOK} == dict(before.webhooks)
    held = lock_directory(tmp_path)
    with pytest.raises(LedgerUnavailable):
        change_master_key(tmp_path, find_source(tmp_path, {}), new, Author())
    assert held


# -- what the stores have on the disk ----------------------------------------------------------------------------------


async def test_no_word_of_an_answer_or_a_job_is_in_a_file(vault, tmp_path, clock):
    kept = SqliteAnswers(tmp_path / "answers.db", clock, AnswerBounds(), vault)
    await kept.put("acme", Keep("r1", WORDS, (Message(Role.USER, WORDS.decode()),), ("s1",)), HOUR_S)
    store = SqliteJobs(tmp_path / "jobs.db", clock, 1 << 20, 1 << 20, vault)
    named = blob()
    await store.put_blob("acme", replace(named, name=WORDS.decode()), WORDS)
    await store.create(job(request=WORDS, result=WORDS, tags=(WORDS.decode(),)), 1)
    assert (await store.blob("acme", named.id, HOUR_S)).name == WORDS.decode()
    assert (await store.job("acme", "job-1", HOUR_S)).tags == (WORDS.decode(),)
    for file in tmp_path.iterdir():
        assert WORDS not in file.read_bytes(), file
    await kept.close()
    await store.close()


async def test_rows_whose_key_is_gone_stop_nobody_else(vault, directory, tmp_path, clock):
    store = SqliteJobs(tmp_path / "jobs.db", clock, 1 << 20, 1 << 20, vault)
    await store.create(job("old"), 9)
    await store.put_blob("acme", blob(), WORDS)
    await store.create(job("new", project="other", created=clock.unix_ms() + 5), 9)
    directory.destroy_keys("acme")
    assert (await store.claim("a", (), ("batch",))).id == "new"
    assert await store.claim("a", (), ("batch",)) is None
    assert await store.jobs("acme", "batch", Page(), HOUR_S) == ([], False)
    assert await store.blobs("acme", (), Page(), HOUR_S) == ([], False)
    for asked in (store.blob("acme", "file-1", HOUR_S), store.job("acme", "old", HOUR_S)):
        with pytest.raises(NotFound):
            await asked
    await store.close()


def before(path, migrations, number, *rows):
    """A database of an earlier version."""
    path.touch(0o600)
    with closing(sqlite3.connect(path)) as old, old:
        for statement in (each for several in migrations[:number] for each in several):
            old.execute(statement)
        for query, values in rows:
            old.execute(query, values)
        old.execute(f"PRAGMA user_version={number}")


async def test_what_an_earlier_version_stored_is_sealed_at_the_first_start(vault, tmp_path, clock):
    now = clock.unix_ms()
    body = ("INSERT INTO answers VALUES ('acme', 'r1', ?, ?, ?, ?)", (now, now + HOUR_S * 1000, WORDS, b"[]"))
    before(tmp_path / "answers.db", answers.MIGRATIONS, 1, body)
    rows = (
        (
            "INSERT INTO blobs VALUES ('acme', 'f1', ?, 'batch', ?, ?, ?, 1)",
            (WORDS.decode(), now, now + 3_600_000, len(WORDS)),
        ),
        ("INSERT INTO pieces VALUES ('acme', 'f1', 0, ?)", (WORDS,)),
        ("INSERT INTO resources VALUES ('acme', 'recognizer', 'n', ?, 0, 0)", (WORDS,)),
        (
            "INSERT INTO jobs VALUES ('acme', 'j1', 'batch', 'k', 'generate', ?, 'f1', '', '', ?, ?, ?, 0, 'queued',"
            " 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, x'', 0, '', 0)",
            (WORDS, now, now, now + 3_600_000),
        ),
    )
    before(tmp_path / "jobs.db", jobs_schema.MIGRATIONS, 2, *rows)
    for _ in range(2):
        kept = SqliteAnswers(tmp_path / "answers.db", clock, AnswerBounds(), vault)
        store = SqliteJobs(tmp_path / "jobs.db", clock, 1 << 20, 1 << 20, vault)
        assert await kept.get("acme", "r1", HOUR_S) == Keep("r1", WORDS)
        assert (await store.blob("acme", "f1", HOUR_S)).name == WORDS.decode()
        assert await store.read_blob("acme", "f1", HOUR_S, 4, 6) == WORDS[4:10]
        assert (await store.resources.get("acme", "recognizer", "n")).body == WORDS
        assert (await store.job("acme", "j1", HOUR_S)).request == WORDS
        assert (await store.job("acme", "j1", HOUR_S)).result == b""
        await kept.close()
        await store.close()
        for name in ("answers.db", "jobs.db"):
            assert WORDS not in (tmp_path / name).read_bytes()


async def test_keys_that_cannot_be_written_are_an_error_for_that_answer_only(vault, tmp_path, clock):
    kept = SqliteAnswers(tmp_path / "answers.db", clock, AnswerBounds(), vault)
    await kept.put("acme", Keep("r1", WORDS), HOUR_S)
    vault._connection.execute("DROP TABLE project_keys")
    with pytest.raises(InternalError):
        await kept.put("new", Keep("r1", WORDS), HOUR_S)
    await kept.close()
