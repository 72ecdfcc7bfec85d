"""Exports in the management API."""

import asyncio

import pytest
from test_admin import Admin, error

from antiphon.core.exports import Batch, BatchState, Cut, Mark, UsageEvent
from antiphon.core.identity import Scope

NOW = 1_767_225_600_000


@pytest.fixture
def admin(tmp_path):
    made = Admin(tmp_path)
    yield made
    made.ring.close()


def batch(name, state):
    event = UsageEvent(identifier=name, project="acme", meter="m", at_unix_ms=NOW, quantity=5, first=1, last=4)
    return Batch(identifier=name, lane=name, body=b"b", events=(event,), state=state, reason="no_customer")


def filled(admin, *states):
    batches = [batch(str(number), state) for number, state in enumerate(states)]
    asyncio.run(admin.exports.cut("out", None, Cut(0, "", "o"), batches, NOW))


def test_what_was_never_exported_is_an_empty_list(admin):
    assert admin.call("GET", "/exports").json() == {"data": []}
    assert error(admin.call("GET", "/exports/out/gaps")) == (404, "not_found", "target")


def test_gaps_are_listed_settled_and_sent_again(admin, monkeypatch):
    async def read(after="", limit=0):
        return []

    monkeypatch.setattr("antiphon.stores.sqlite.usage.SqliteUsage.read", lambda self, *a: read())
    filled(admin, BatchState.REFUSED, BatchState.UNKNOWN, BatchState.REFUSED, BatchState.WAITING)
    [status] = admin.call("GET", "/exports").json()["data"]
    assert (status["target"], status["configured"], status["waiting"], status["gaps"]) == ("out", True, 1, 3)
    one, two, three = admin.call("GET", "/exports/out/gaps").json()["data"]
    assert (one["state"], one["quantity"], one["project"], one["reason"]) == ("refused", 5, "acme", "no_customer")
    assert admin.call("GET", f"/exports/out/gaps?after={two['number']}").json() == {"data": [three]}
    settled = admin.call("POST", "/exports/out/gaps/settle", json={"numbers": [two["number"]], "note": "paid"})
    assert settled.json() == {"batches": 1}
    again = admin.call("POST", "/exports/out/gaps/send_again", json={"numbers": [one["number"]]})
    assert again.json() == {"batches": 1}
    assert admin.call("POST", "/exports/out/gaps/settle", json={}).json() == {"batches": 1}
    assert admin.call("GET", "/exports/out/gaps").json() == {"data": []}
    assert error(admin.call("POST", "/exports/out/gaps/settle", json={"note": "x" * 501}))[0] == 400


def test_a_replay_says_what_is_too_old(admin):
    filled(admin, BatchState.WAITING, BatchState.WAITING)
    for number, at in ((1, NOW), (2, NOW - 5000)):
        asyncio.run(admin.exports.sending("out", [number], at))
        asyncio.run(admin.exports.mark("out", [Mark(number, BatchState.TAKEN)], at))
    assert admin.call("POST", "/exports/out/replay", json={"position": 3}).json() == {"batches": 1, "too_old": 1}
    assert error(admin.call("POST", "/exports/none/replay", json={"position": 3}))[0] == 404
    assert error(admin.call("POST", "/exports/out/replay", json={"position": -3}))[0] == 400


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", ""),
        ("GET", "/out/gaps"),
        ("POST", "/out/gaps/settle"),
        ("POST", "/out/gaps/send_again"),
        ("POST", "/out/replay"),
    ],
)
def test_exports_are_for_administrators(admin, method, path):
    body = {"json": {"position": 1}} if method == "POST" else {}
    for scopes in ((Scope.USAGE,), (Scope.TRANSCRIBE,)):
        assert admin.call(method, f"/exports{path}", admin.key("acme", *scopes), **body).status_code == 403
