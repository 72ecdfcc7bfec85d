"""What every implementation of a store does, the fakes among them."""

import asyncio
import uuid
from dataclasses import replace

import pytest
from vaults import open_vault

from antiphon.core import merkle
from antiphon.core.audit import Action, AuditRecord, Author, ChangeRecord, Outcome, canonical
from antiphon.core.entry import EntryKind, Reference
from antiphon.core.errors import AlreadyAnswered, CallerError, Conflict, NotFound
from antiphon.core.identity import Key, Project, Scope
from antiphon.core.policy import Policy, TagPolicy
from antiphon.core.stores import AnswerBounds
from antiphon.core.usage import By, Dimension, Total, UsageQuery
from antiphon.core.wire import Keep
from antiphon.stores.sqlite.answers import SqliteAnswers
from antiphon.stores.sqlite.audit import SqliteTrail
from antiphon.stores.sqlite.directory import SqliteDirectory
from antiphon.stores.sqlite.ledger import SqliteLedger
from antiphon.testing import FakeAnswers, FakeDirectory, FakeLedger
from antiphon.trust.auth import KeyRing
from antiphon.trust.control import Control

NOW = 1_767_225_600_000
OTHER = str(uuid.UUID(int=2))
KEY = Key("k1", "acme", "ci", frozenset({Scope.USAGE}), "ant_k1", NOW)

LEDGERS = {"sqlite": lambda path: SqliteLedger(path / "ledger.db", "fake"), "fake": lambda path: FakeLedger()}
DIRECTORIES = {"sqlite": SqliteDirectory, "fake": lambda path: FakeDirectory()}
ANSWERS = {
    "sqlite": lambda path, clock: SqliteAnswers(path / "answers.db", clock, AnswerBounds()),
    "sealed": lambda path, clock: SqliteAnswers(path / "answers.db", clock, AnswerBounds(), open_vault(path)),
    "fake": lambda path, clock: FakeAnswers(clock),
}


@pytest.fixture(params=LEDGERS)
async def ledger(request, tmp_path):
    made = LEDGERS[request.param](tmp_path)
    yield made
    await made.close()


@pytest.fixture(params=DIRECTORIES)
def directory(request, tmp_path):
    return DIRECTORIES[request.param](tmp_path)


@pytest.fixture(params=ANSWERS)
async def answers(request, tmp_path, clock):
    made = ANSWERS[request.param](tmp_path, clock)
    yield made
    await made.close()


# -- the ledger --------------------------------------------------------------------------------------------------------


async def test_whoever_reads_on_from_the_last_cursor_misses_no_entry(ledger, make_entry):
    written = [make_entry(number) for number in range(5)]
    await ledger.append(written[:3])
    head = await ledger.read(limit=2)
    await ledger.append(written[3:])
    tail = await ledger.read(head[-1].cursor)
    assert [each.entry for each in (*head, *tail)] == written
    assert {each.server for each in (*head, *tail)} == {"fake"}
    assert await ledger.read(tail[-1].cursor) == []
    with pytest.raises(CallerError):
        await ledger.read("nowhere")


async def test_an_append_again_is_one_and_another_under_its_key_is_refused(ledger, make_entry):
    for _ in range(2):
        await ledger.append([make_entry(0), make_entry(1)])
    with pytest.raises(Conflict):
        await ledger.append([make_entry(2), make_entry(1, amount=9)])
    assert [each.entry for each in await ledger.read()] == [make_entry(0), make_entry(1)]


async def test_totals_and_what_was_charged(ledger, make_entry):
    corrected = make_entry(2, -400, kind=EntryKind.CORRECTION, corrects=Reference(make_entry().session, 0))
    await ledger.append([make_entry(0, tags=("a=1", "b=2")), make_entry(1, 0, kind=EntryKind.ABANDONED), corrected])
    await ledger.append([make_entry(0, 7, session=OTHER, project="acme", channel=1, at_unix_ms=NOW + 86_400_000)])
    name = "stt.audio_ms"
    ours, theirs = Total(("2026-01-01", "default"), name, 600, 1, 1), Total(("2026-01-02", "acme"), name, 7, 1, 0)
    assert await ledger.totals(UsageQuery()) == [ours, theirs]
    assert await ledger.totals(UsageQuery(since_unix_ms=NOW + 1)) == [theirs]
    assert await ledger.totals(UsageQuery(until_unix_ms=NOW + 1)) == [ours]
    assert await ledger.totals(UsageQuery(project="nobody")) == []
    assert [each.group for each in await ledger.totals(UsageQuery(by=(By.CHANNEL, By.KEY)))] == [
        ("0", "k1"), ("1", "k1")
    ]  # fmt: skip
    assert [each.amount for each in await ledger.totals(UsageQuery(labels=("a=1", "c=3")))] == [1_000]
    assert await ledger.totals(UsageQuery(labels=("a",))) == []
    assert await ledger.charged("default", Dimension.STT_AUDIO_MS, NOW) == 600


async def test_a_request_is_charged_once(ledger, make_entry):
    claim = await ledger.claim("default", "retry", "body", make_entry().session, 1_000)
    await ledger.append([make_entry(0)], claim)
    with pytest.raises(Conflict):
        await ledger.claim("default", "retry", "another", OTHER, 2_000)
    again = await ledger.claim("default", "retry", "body", OTHER, 2_000)
    assert again.replay_of == make_entry().session
    await ledger.append([make_entry(0, session=OTHER)], again)
    with pytest.raises(AlreadyAnswered):
        await ledger.claim("default", "retry", "body", str(uuid.UUID(int=3)), 2_000)
    assert [each.entry for each in await ledger.read()] == [make_entry(0)]
    with pytest.raises(CallerError):
        await ledger.claim("default", "", "body", OTHER, 2_000)


async def test_one_that_is_closed_takes_nothing(ledger):
    assert (ledger.healthy, ledger.trouble) == (True, None)
    await ledger.flush()
    await ledger.close()
    assert not ledger.healthy
    assert ledger.trouble


# -- the audit log -----------------------------------------------------------------------------------------------------


def told(number, project="acme"):
    return AuditRecord(NOW + number, Action.ACCESS, Outcome.ALLOWED, f"k{number}", project)


@pytest.fixture
def trail(ledger, tmp_path):
    return ledger if isinstance(ledger, FakeLedger) else SqliteTrail(tmp_path / "ledger.db")


async def test_records_stand_in_the_order_in_which_they_came(ledger, trail, make_entry):
    for number in range(3):
        ledger.record(told(number))
    await ledger.append([make_entry(0)])
    ledger.record(told(3, "other"))
    await ledger.flush()
    assert await trail.size() == 4
    whole = await trail.logged(0)
    assert [each.body for each in whole] == [canonical(told(n, "other" if n == 3 else "acme")) for n in range(4)]
    assert [each.leaf for each in whole] == [merkle.leaf_hash(each.body) for each in whole]
    assert await trail.logged(1, 2) == whole[1:3]
    assert await trail.logged(4) == []
    assert await trail.logged(0, project="other") == whole[3:]
    assert await trail.logged(0, since_unix_ms=NOW + 2) == whole[2:]


async def test_a_record_is_durable_soon_also_if_nothing_else_is_written(ledger, trail):
    ledger.record(told(0))
    async with asyncio.timeout(60):
        while not await trail.size():  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def test_the_hashes_of_the_tree_are_there(ledger, trail):
    edge = merkle.Edge()
    for number in range(21):
        ledger.record(told(number))
        edge.add(merkle.leaf_hash(canonical(told(number))))
        if number % 5 == 0:
            await ledger.flush()
    await ledger.flush()
    assert merkle.fold(await trail.hashes(merkle.subtrees((0, 21)))) == edge.root
    assert await trail.hashes([]) == []


async def test_what_was_recorded_beside_changes_comes_once(ledger, trail):
    changes = [ChangeRecord(number, told(number)) for number in range(1, 4)]
    await ledger.drain("a", changes[:2])
    await ledger.drain("a", changes)
    await ledger.drain("b", changes[:1])
    assert [each.body for each in await trail.logged(0)] == [canonical(told(number)) for number in (1, 2, 3, 1)]


async def test_what_records_said_is_forgotten_and_that_they_were_is_not(ledger, trail):
    for number in (0, 1, 3, -5):
        ledger.record(told(number))
    await ledger.flush()
    before = await trail.logged(0)
    assert await ledger.forget_records(NOW + 2) == 2
    assert await ledger.forget_records(NOW + 2) == 0
    assert await trail.logged(0) == [before[0]._replace(body=None), before[1]._replace(body=None), *before[2:]]


# -- the directory -----------------------------------------------------------------------------------------------------


def test_projects_have_a_policy_of_which_what_is_named_is_set(directory):
    directory.add_project(Project("acme", "Acme", NOW, Policy(weight=3)))
    with pytest.raises(Conflict):
        directory.add_project(Project("acme", "", NOW))
    assert directory.set_policy("acme", {"tags": "none"}).policy == Policy(weight=3, tags=TagPolicy.NONE)

    def refuse(policy: Policy) -> None:
        assert policy == Policy(weight=4, tags=TagPolicy.NONE)
        raise CallerError("no")

    with pytest.raises(CallerError):
        directory.set_policy("acme", {"weight": 4}, check=refuse)
    assert directory.view().projects["acme"].policy.weight == 3
    assert directory.view().projects["acme"].policy == Policy(weight=3, tags=TagPolicy.NONE)
    with pytest.raises(NotFound):
        directory.set_policy("nobody", {})


def test_keys_belong_to_a_project_and_stay_when_they_are_revoked(directory):
    with pytest.raises(NotFound):
        directory.add_key(KEY, b"1")
    directory.add_project(Project("acme", "Acme", NOW))
    directory.add_key(KEY, b"1")
    with pytest.raises(Conflict):
        directory.add_key(KEY, b"2")
    assert not directory.add_first_key(replace(KEY, id="k2"), b"2")
    assert directory.view().keys == {"k1": (KEY, b"1")}
    assert [directory.revoke_key("k1", NOW + n).revoked_unix_ms for n in (1, 2)] == [NOW + 1, NOW + 1]
    directory.put_key(KEY, b"3")
    assert directory.view().keys == {"k1": (KEY, b"3")}
    with pytest.raises(NotFound):
        directory.revoke_key("nobody", NOW)


def test_what_changes_is_followed(directory):
    follower = directory.follow()
    assert follower.poll().projects == {}
    assert follower.poll() is None
    directory.add_project(Project("acme", "Acme", NOW))
    before = follower.poll()
    directory.replace_tag_key("acme")
    after = follower.poll()
    assert before.projects.keys() == before.tag_keys.keys() == {"acme"}
    assert before.tag_keys["acme"] != after.tag_keys["acme"]
    follower.close()


def test_what_is_written_of_tags_is_the_projects_policy_and_found_by_the_asked_value(directory, clock):
    control = Control(directory)
    told = ("patient=Jane Roe", "Jane Roe=1", "plain", "a" * 80 + "=x")
    for project in ("acme", "other"):
        control.create_project(project, "", NOW)
    ring = KeyRing(directory, clock)
    written = ring.labels("acme", told)
    assert written[0].startswith("patient=")
    assert all("Jane" not in each for each in written)
    assert [len(each) for each in written] == [24, 16, 16, 16]
    assert all(label in control.labels("acme", tag) for label, tag in zip(written, told, strict=True))
    assert set(written).isdisjoint(ring.labels("other", told))
    control.forget_tags("acme")
    assert not any(label in control.labels("acme", tag) for label, tag in zip(written, told, strict=True))
    control.change_project("acme", NOW, tags="plain")
    control.change_project("other", NOW, tags="none")
    clock.advance_ms(250)
    ring.refresh()
    assert (ring.labels("acme", told), ring.labels("other", told), ring.labels("nobody", told)) == (told, (), ())
    assert told[0] in control.labels("acme", told[0])
    ring.close()


def test_each_change_is_recorded_beside_it_and_nothing_else_is(directory):
    by = Author("k9", NOW, "192.0.2.0/24", "r1")
    directory.add_project(Project("acme", "Acme", NOW), by)
    directory.set_policy("acme", {"weight": 3}, by)
    directory.set_policy("acme", {"weight": 3}, by)
    directory.set_policy("acme", {"budgets": "a tokens 5 day", "limits": "calls=1"}, by)
    directory.add_key(KEY, b"1", by)
    directory.put_key(KEY, b"1", by)
    directory.put_key(KEY, b"2", by)
    for _ in range(2):
        directory.revoke_key("k1", NOW, by)
    directory.replace_tag_key("acme", by)
    with pytest.raises(Conflict):
        directory.add_key(KEY, b"1", by)
    with pytest.raises(NotFound):
        directory.replace_tag_key("nobody", by)
    source, changes = directory.changes()
    assert [(each.record.action, each.record.object, each.record.reason) for each in changes] == [
        (Action.PROJECT_CREATE, "acme", ""),
        (Action.POLICY_CHANGE, "acme", "weight: 1 -> 3"),
        (Action.BUDGET_CHANGE, "a", "none -> a tokens 5 day"),
        (Action.BUDGET_CHANGE, "limits of the project", "none -> calls=1"),
        (Action.KEY_CREATE, "k1", "scopes: usage"),
        (Action.KEY_CHANGE, "k1", "scopes: usage"),
        (Action.KEY_REVOKE, "k1", ""),
        (Action.TAGS_FORGET, "acme", ""),
    ]
    assert {(each.record.actor, each.record.at_unix_ms, each.record.request) for each in changes} == {("k9", NOW, "r1")}
    assert [each.position for each in changes] == sorted({each.position for each in changes})
    assert directory.changes(2) == (source, changes[:2])
    directory.drained(changes[5].position)
    directory.note(changes[0].record)
    left = directory.changes()[1]
    assert left[:2] == changes[6:]
    assert left[2].position > changes[-1].position


# -- kept answers ------------------------------------------------------------------------------------------------------


async def test_an_answer_is_its_projects_and_has_an_end(answers, clock):
    await answers.put("acme", Keep("r1", b"first"), 60)
    clock.advance_ms(30_000)
    await answers.put("acme", Keep("r1", b"second"), 60)
    assert await answers.get("acme", "r1", 60) == Keep("r1", b"second")
    for project, keep_s in (("other", 60), ("acme", 30)):
        with pytest.raises(NotFound):
            await answers.get(project, "r1", keep_s)
    clock.advance_ms(30_000)
    with pytest.raises(NotFound):
        await answers.get("acme", "r1", 600)


async def test_answers_are_deleted_and_purged(answers, clock):
    for id in ("r1", "r2", "r3"):
        await answers.put(id.replace("r3", "acme").replace("r", "p"), Keep(id, b"x"), 600)
    await answers.delete("p1", "r1")
    clock.advance_ms(60_000)
    assert await answers.purge(lambda project: 600 if project == "acme" else 30) == {"p2": 1}
    for project, id in (("p1", "r1"), ("p2", "r2")):
        with pytest.raises(NotFound):
            await answers.get(project, id, 6_000)
    assert await answers.get("acme", "r3", 600)
    assert answers.trouble is None


# -- subjects and keys of content --------------------------------------------------------------------------------------


async def test_answers_about_a_person_are_found_one_after_another_and_erased(answers):
    for id, subjects in (("r1", ("jane",)), ("r2", ("john", "jane")), ("r3", ("john",)), ("r4", ())):
        await answers.put("acme", Keep(id, b"x", (), subjects), 60)
    await answers.put("other", Keep("r1", b"x", (), ("jane",)), 60)
    first = await answers.of_subject("acme", "jane", 60)
    second = await answers.of_subject("acme", "jane", 60, "r1")
    assert [(each.id, each.subjects) for each in (first, second)] == [("r1", ("jane",)), ("r2", ("john", "jane"))]
    assert await answers.of_subject("acme", "jane", 60, "r2") is None
    assert await answers.of_subject("acme", "jan", 60) is None
    assert await answers.of_subject("acme", "jane", 0) is None
    assert await answers.erase("acme", "jane") == 2
    assert (await answers.of_subject("acme", "john", 60)).id == "r3"
    assert await answers.erase("acme") == 2
    assert (await answers.get("other", "r1", 60)).subjects == ("jane",)


def test_keys_of_content_are_retired_and_destroyed_with_a_record(directory):
    directory.add_project(Project("acme", "", NOW))
    before = directory.view().tag_keys["acme"]
    directory.retire_key("acme", Author("k1", 7))
    assert directory.view().tag_keys["acme"] == before
    directory.destroy_keys("acme", Author("k1", 8))
    assert directory.view().tag_keys["acme"] != before
    records = [change.record for change in directory.changes()[1]][-2:]
    assert [(each.action, each.actor, each.project) for each in records] == [
        (Action.CONTENT_KEY_RETIRE, "k1", "acme"),
        (Action.CONTENT_KEYS_DESTROY, "k1", "acme"),
    ]
    for change in (directory.retire_key, directory.destroy_keys):
        with pytest.raises(NotFound):
            change("nobody")
