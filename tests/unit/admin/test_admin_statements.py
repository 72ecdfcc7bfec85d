"""Statements by the management API: who may see whose, the same as on the command line, and issued once."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fastapi import FastAPI
from fastapi.testclient import TestClient

from antiphon.admin import create_admin
from antiphon.core.entry import Entry, EntryKind
from antiphon.core.identity import Scope
from antiphon.core.usage import Dimension, Quantity
from antiphon.metering import bills
from antiphon.metering.allowances import Allowances
from antiphon.metering.export.control import ExportControl
from antiphon.metering.pricing.book import Series
from antiphon.metering.pricing.library import Library
from antiphon.metering.pricing.parse import parse_book
from antiphon.metering.statements import Billing, month_of
from antiphon.testing import FakeBills, FakeClock, FakeDirectory, FakeExports, FakeLedger
from antiphon.transports.inspecting import Inspectors
from antiphon.trust.audit import Auditor
from antiphon.trust.auth import KeyRing
from antiphon.trust.checkpoint import Signer
from antiphon.trust.control import Control
from antiphon.trust.notary import Auditing, Notary, Outside
from antiphon.trust.residency import Policies

BOOK = """
book = "list"
version = "1"
currency = "USD"
from = 2000-01-01
rounding = { mode = "half_up", per = "session" }

[[price]]
id = "stt"
dimension = "stt.audio_ms"
amount = "0.06"
per = "minute"
"""
COSTS = BOOK.replace('"list"', '"costs"\nrole = "costs"').replace("0.06", "0.01")


class Admin:
    def __init__(self, priced=True):
        self.clock, directory, self.ledger = FakeClock(), FakeDirectory(), FakeLedger()
        control = Control(directory)
        control.create_project("acme", "", self.clock.unix_ms())
        self.control, self.secret = control, control.prepare(None, self.clock.unix_ms())
        self.ring = KeyRing(directory, self.clock)
        library = Library()
        if priced:
            books = {
                name: Series([parse_book(text.encode(), name)]) for name, text in {"list": BOOK, "costs": COSTS}.items()
            }
            library = Library(series=books, default="list", costs=books["costs"])
        self.billing = Billing(self.ledger, FakeBills(), library.of, library.costs)
        inspectors = Inspectors(self.authenticate, ())
        server = FastAPI()
        exports = ExportControl(FakeExports(), self.ledger, {}, self.clock.unix_ms)
        inspect = inspectors.check
        auditor = Auditor(self.ledger, directory, self.clock, self.ring.policy)
        notary = Notary(self.ledger, Signer("log", Ed25519PrivateKey.generate()), Path(), Outside(), None, None)
        checks = self.authenticate, self.ledger, self.clock, inspect
        auditing = Auditing(auditor, self.ledger, notary)
        allowances = Allowances(
            *(self.ring.policy, self.ring.projects, self.ring.organisation, library.of, self.ledger, self.clock, ())
        )
        policies = Policies(lambda *asked: (), 1)
        made = create_admin(control, *checks, auditing, exports, self.billing, None, policies, {}.get, allowances)
        server.mount("/admin/v1", made)
        self.client = TestClient(server, raise_server_exceptions=False)
        self.period = month_of(self.clock.unix_ms())

    def authenticate(self, secret, scope, address):
        return self.ring.authenticate(secret, scope)

    def key(self, project, *scopes):
        return self.control.create_key(project, "", scopes, self.clock.unix_ms())[1]

    def call(self, method, path, secret=None, headers=None, **more):
        known = {"authorization": f"Bearer {secret or self.secret}"} | (headers or {})
        return self.client.request(method, f"/admin/v1{path}", headers=known, **more)

    def statement(self, secret=None, headers=None, **query):
        params = {"period": self.period.name, "project": "acme"} | query
        return self.call(
            "GET", "/statement", secret, headers, params={k: v for k, v in params.items() if v is not None}
        )


@pytest.fixture
async def admin():
    made = Admin()
    fields = {"project": "acme", "key_id": "k", "session": "00000000-0000-0000-0000-000000000001", "feature": "live"}
    fields |= {"surface": "deepgram", "model": "moonshine", "at_unix_ms": made.clock.unix_ms()}
    used = Entry(**fields, sequence=0, quantity=Quantity(Dimension.STT_AUDIO_MS, 60_000))
    end = Entry(**fields, sequence=1, quantity=Quantity(Dimension.STT_AUDIO_MS, 0), kind=EntryKind.COMPLETED)
    await made.ledger.append([used, end])
    yield made
    made.ring.close()


def error(answer):
    return answer.status_code, answer.json()["error"]["code"], answer.json()["error"]["param"]


def test_it_says_what_the_command_line_says(admin):
    expected = admin.billing.statement("acme", admin.period, 0)
    assert admin.statement().text == bills.to_json(expected)
    assert admin.statement(headers={"accept": "text/csv"}).text == bills.to_csv(expected)
    assert admin.statement().json()["total"] == "0.060000000"


def test_a_key_for_usage_sees_its_own_project_and_no_costs(admin):
    secret = admin.key("acme", Scope.USAGE)
    assert admin.statement(secret, project=None).json()["project"] == "acme"
    assert error(admin.statement(secret, project="default")) == (404, "not_found", "project")
    assert error(admin.statement(secret, margin=True)) == (403, "forbidden", "margin")
    assert error(admin.call("POST", "/statements", secret, json={})) == (403, "forbidden", None)
    assert admin.statement(margin=True).json()["margin"] == "0.050000000"


def test_projects_and_periods_that_are_none_are_refused(admin):
    assert error(admin.statement(project="none")) == (404, "not_found", "project")
    assert error(admin.statement(period="2026")) == (400, "invalid_request", "period")
    body = {"project": "none", "period": admin.period.name}
    assert error(admin.call("POST", "/statements", json=body)) == (404, "not_found", "project")


def test_a_statement_is_issued_when_its_month_is_over(admin):
    body = {"project": "acme", "period": admin.period.name}
    assert error(admin.call("POST", "/statements", json=body))[:2] == (422, "conflict")
    admin.clock.advance_ms(32 * 86_400_000)
    issued = admin.call("POST", "/statements", json=body)
    assert (issued.status_code, issued.json()["issued"]) == (201, True)
    assert admin.statement().text == issued.text
    assert error(admin.call("POST", "/statements", json=body))[:2] == (422, "conflict")


def test_without_a_price_book_there_is_no_statement():
    bare = Admin(priced=False)
    assert error(bare.statement())[:2] == (404, "no_price_book")
    bare.ring.close()


async def test_few_can_wait_for_a_statement(admin, monkeypatch):
    monkeypatch.setattr("antiphon.admin.statements.MAX_WAITING", 0)
    assert admin.statement().status_code in (429, 503)
