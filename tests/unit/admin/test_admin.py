import asyncio
import base64
import csv
import io
import json
import uuid

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fastapi import FastAPI
from fastapi.testclient import TestClient

from antiphon import routes
from antiphon.admin import api, create_admin
from antiphon.core import merkle
from antiphon.core.entry import Entry
from antiphon.core.identity import Scope
from antiphon.core.place import Processing
from antiphon.core.stores import ServerStores
from antiphon.core.usage import Dimension, Quantity
from antiphon.core.wire import Keep
from antiphon.metering.allowances import Allowances
from antiphon.metering.export.control import ExportControl
from antiphon.metering.pricing.library import Library
from antiphon.metering.statements import Billing
from antiphon.session.callers import Callers
from antiphon.session.keeping import Keeper
from antiphon.session.subjects import Subjects
from antiphon.stores.sqlite.directory import SqliteDirectory
from antiphon.stores.sqlite.ledger import SqliteLedger
from antiphon.stores.sqlite.usage import SqliteUsage
from antiphon.testing import FakeAnswers, FakeBills, FakeClock, FakeExports, FakeJobs, FakeLedger, FakeResources
from antiphon.transports.inspecting import Inspectors
from antiphon.trust.audit import Auditor
from antiphon.trust.auth import KeyRing
from antiphon.trust.checkpoint import Signer, parse
from antiphon.trust.control import Control
from antiphon.trust.ephemeral import EphemeralSecrets
from antiphon.trust.notary import Auditing, Notary, Outside
from antiphon.trust.profiles import PROFILES, Profiles
from antiphon.trust.residency import Policies, Residency


class Admin:
    """The API mounted as a server mounts it, with a key of each kind."""

    def __init__(self, tmp_path, sign_ins=lambda clock: None):
        self.clock = FakeClock()
        self.sign_ins = sign_ins(self.clock)
        directory = SqliteDirectory(tmp_path)
        self.control = Control(directory, surfaces=routes.surfaces)
        self.control.create_project("acme", "Acme", self.clock.unix_ms())
        self.secret = self.control.prepare(None, self.clock.unix_ms())
        self.ring = KeyRing(directory, self.clock)
        self.server = server = FastAPI()
        inspectors = Inspectors(self.authenticate, ())
        ledger = SqliteUsage(tmp_path / "ledger.db")
        self.log = FakeLedger()
        auditor = Auditor(self.log, directory, self.clock, self.ring.policy)
        notary = Notary(self.log, Signer("log", Ed25519PrivateKey.generate()), tmp_path, Outside(), None, None)
        self.auditing = Auditing(auditor, self.log, notary)
        self.directory = directory
        self.exports = FakeExports()
        exports = ExportControl(self.exports, ledger, {"out": 1000}, self.clock.unix_ms)
        billing = Billing(ledger, FakeBills(), Library().of)
        checks = self.authenticate, ledger, self.clock, inspectors.check
        allowances = Allowances(
            *(self.ring.policy, self.ring.projects, self.ring.organisation, Library().of, self.log, self.clock, ())
        )
        self.answers, jobs, passing = FakeAnswers(self.clock), FakeJobs(self.clock), FakeJobs(self.clock)
        stores = directory, FakeBills(), self.log, self.log, self.answers, jobs, passing, FakeResources(self.clock)
        keeper = Keeper(self.answers, lambda project: 3600, self.clock)
        subjects = Subjects(ServerStores(*stores), keeper, lambda project: 3600, auditor, {})
        own = Processing("eu-de", "self", retention_s=0)
        residency = Residency({"near": own, "far": Processing()}, self.ring.policy, self.clock)
        self.policies = Policies(lambda policy, model: residency.verdicts(policy, ("near", "far")), 2557)
        more = subjects, self.policies, {}.get, allowances, self.sign_ins
        app = create_admin(self.control, *checks, self.auditing, exports, billing, *more)
        server.mount("/admin/v1", app)
        self.client = TestClient(server, base_url="http://test", raise_server_exceptions=False)

    def authenticate(self, secret, scope, address):
        """As the door does."""
        callers = Callers(self.ring, EphemeralSecrets(self.clock), self.clock, sign_ins=self.sign_ins)
        return callers.administrator(secret, scope, address)

    def key(self, project, *scopes):
        return self.control.create_key(project, "", scopes, self.clock.unix_ms())[1]

    def call(self, method, path, secret=None, **more):
        headers = {"authorization": f"Bearer {secret or self.secret}"} | more.pop("headers", {})
        return self.client.request(method, f"/admin/v1{path}", headers=headers, **more)


@pytest.fixture
def admin(tmp_path):
    made = Admin(tmp_path)
    yield made
    made.ring.close()


@pytest.fixture
async def usage(tmp_path, admin):
    ledger = SqliteLedger(tmp_path / "ledger.db", "a")
    await ledger.append(
        [
            Entry(
                project=project,
                key_id="k",
                session="00000000-0000-0000-0000-000000000001",
                sequence=0,
                at_unix_ms=admin.clock.unix_ms(),
                surface="openai",
                model="moonshine-tiny-en",
                quantity=Quantity(Dimension.STT_AUDIO_MS, amount),
                feature="file",
            )
            for project, amount in (("acme", 100), ("default", 23))
        ]
    )
    yield
    await ledger.close()


def error(answer):
    assert set(answer.json()) == {"error"}
    assert set(answer.json()["error"]) == {"code", "message", "param"}
    return answer.status_code, answer.json()["error"]["code"], answer.json()["error"]["param"]


CALLS = [
    ("GET", "/projects"),
    ("POST", "/projects"),
    ("PATCH", "/projects/acme"),
    ("GET", "/keys"),
    ("POST", "/keys"),
    ("DELETE", "/keys/x"),
    ("GET", "/usage"),
    ("POST", "/projects/acme/subjects/export"),
    ("POST", "/projects/acme/subjects/erase"),
    ("POST", "/projects/acme/erase"),
    ("POST", "/projects/acme/rotate_key"),
    ("GET", "/statement"),
    ("POST", "/statements"),
]


@pytest.mark.parametrize(("method", "path"), CALLS)
def test_every_call_needs_a_key(admin, method, path):
    answer = admin.client.request(method, f"/admin/v1{path}", json={"id": "x"} if method == "POST" else None)
    assert error(answer) == (401, "unauthenticated", None)
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize(("method", "path"), CALLS)
def test_every_call_needs_the_scope(admin, method, path):
    secret = admin.key("default", Scope.TRANSCRIBE)
    body = {"id": "x"} if path == "/projects" else {}
    answer = admin.call(method, path, secret, json=body if method == "POST" else None)
    assert error(answer) == (403, "forbidden", None)


def test_projects_are_made_and_listed(admin):
    made = admin.call("POST", "/projects", json={"id": "new", "name": "New"})
    assert made.status_code == 201
    known = {
        "id": "new",
        "name": "New",
        "created_unix_ms": admin.clock.unix_ms(),
        "keep_answers_s": 0,
        "marking": "marked",
        "weight": 1,
        "consent": "none",
        "disclosure": "",
        "tags": "hashed",
        "redact": "",
        "redact_as": "entity_name",
        "redact_words": "",
        "redact_patterns": "",
        "prompts": "plain",
        "stripe_customer": "",
        "organisation": "",
        "budgets": "",
        "limits": "",
        "models": "",
        "regions": "",
        "processors": "",
        "agreements": "",
        "max_retention": "",
    }
    assert made.json() == known
    changed = admin.call("PATCH", "/projects/new", json={"keep_answers_s": 86_400})
    assert (changed.status_code, changed.json()) == (200, known | {"keep_answers_s": 86_400})
    assert admin.call("GET", "/projects").json()["data"][2] == changed.json()
    signed = admin.call("PATCH", "/projects/new", json={"marking": "signed"})
    assert signed.json() == changed.json() | {"marking": "signed"}
    assert error(admin.call("PATCH", "/projects/new", json={"marking": "none"}))[::2] == (400, "marking")
    assert admin.call("PATCH", "/projects/new", json={"weight": 3}).json() == signed.json() | {"weight": 3}
    for weight in (0, 1001, "3"):
        assert error(admin.call("PATCH", "/projects/new", json={"weight": weight}))[::2] == (400, "weight")
    assert error(admin.call("PATCH", "/projects/none", json={"keep_answers_s": 1})) == (404, "not_found", "id")
    assert error(admin.call("PATCH", "/projects/new", json={"keep_answers_s": -1}))[2] == "keep_answers_s"
    assert [project["id"] for project in admin.call("GET", "/projects").json()["data"]] == ["acme", "default", "new"]
    assert admin.call("POST", "/projects", json={"id": "heavy", "weight": 1000}).json()["weight"] == 1000
    assert error(admin.call("POST", "/projects", json={"id": "new"})) == (422, "conflict", "id")


def test_a_key_is_made_works_and_is_revoked(admin):
    wanted = {"project": "acme", "name": "ci", "scopes": ["usage", "admin"], "expires_unix_ms": 1_900_000_000_000}
    made = admin.call("POST", "/keys", json=wanted)
    assert made.status_code == 201
    secret = made.json().pop("key")
    assert {name: made.json()[name] for name in ("project", "name", "expires_unix_ms")} == {
        name: wanted[name] for name in ("project", "name", "expires_unix_ms")
    }
    listed = admin.call("GET", "/keys?project=acme", secret).json()["data"]
    assert [key["id"] for key in listed] == [made.json()["id"]]
    assert listed[0]["scopes"] == ["admin", "usage"]
    assert "key" not in listed[0]
    revoked = admin.call("DELETE", f"/keys/{made.json()['id']}")
    assert revoked.json()["revoked_unix_ms"] == admin.clock.unix_ms()
    admin.clock.advance_ms(250)
    admin.ring.refresh()
    assert error(admin.call("GET", "/keys", secret))[:2] == (401, "unauthenticated")


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/projects", {"id": "Not An Id"}, "id"),
        ("/projects", {"id": "x", "name": "n" * 300}, "name"),
        ("/projects", {"id": "x", "colour": "red"}, "colour"),
        ("/projects", {}, "id"),
        ("/projects", [], None),
        ("/keys", {"scopes": []}, "scopes"),
        ("/keys", {"scopes": ["everything"]}, "scopes.0"),
        ("/keys", {"expires_unix_ms": "soon"}, "expires_unix_ms"),
        ("/keys", {"expires_unix_ms": 1}, "expires"),
        ("/keys", {"expires_unix_ms": 2**70}, "expires_unix_ms"),
    ],
)
def test_a_malformed_request_is_refused_and_changes_nothing(admin, path, body, param):
    before = admin.control.list_projects(), admin.control.list_keys()
    assert error(admin.call("POST", path, json=body)) == (400, "invalid_request", param)
    assert (admin.control.list_projects(), admin.control.list_keys()) == before


def test_what_is_not_there_is_said_in_the_same_shape(admin):
    assert error(admin.call("DELETE", "/keys/nobody")) == (404, "not_found", "id")
    assert error(admin.call("POST", "/keys", json={"project": "nobody"})) == (404, "not_found", "project")
    assert error(admin.call("GET", "/nothing"))[:2] == (404, "not_found")
    refused = admin.call("PUT", "/keys")
    assert error(refused)[:2] == (405, "method_not_allowed")
    assert refused.headers["allow"] == "GET, POST"


@pytest.mark.parametrize("body", [b"{", b"[" * 60_000, b"\xff\xfe"])
def test_a_body_that_is_not_json_is_the_callers_fault(admin, body):
    answer = admin.call("POST", "/projects", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400
    error(answer)


def test_a_body_is_bounded(admin):
    answer = admin.call("POST", "/projects", content=b" " * 100_000, headers={"content-type": "application/json"})
    assert error(answer)[:2] == (413, "too_large")


async def ask(admin, secret, *pieces):
    """Status of a `POST` whose body comes in those pieces and then no more; whether anything of it was read."""
    says, sent = asyncio.Queue(), []
    for piece in pieces:
        says.put_nowait({"type": "http.request", "body": piece, "more_body": True})

    async def send(message):
        sent.append(message)

    headers = [
        (b"content-type", b"application/json"),
        *([(b"authorization", f"Bearer {secret}".encode())] * bool(secret)),
    ]
    scope = {"type": "http", "method": "POST", "path": "/admin/v1/projects", "query_string": b"", "headers": headers}
    async with asyncio.timeout(60):
        await admin.server(scope, says.get, send)
    return sent[0]["status"], says.qsize() < len(pieces)


@pytest.mark.parametrize(("scopes", "status"), [(None, 401), ((Scope.TRANSCRIBE,), 403), ((Scope.USAGE,), 403)])
async def test_a_key_is_checked_before_a_body_is_read(admin, scopes, status):
    secret = admin.key("acme", *scopes) if scopes else None
    assert await ask(admin, secret, b"{") == (status, False)


async def test_a_body_that_stops_arriving_is_given_up(admin, monkeypatch):
    monkeypatch.setattr(api, "BODY_S", 0.01)
    assert await ask(admin, admin.secret, b"{") == (408, True)


def test_usage_of_every_project_for_an_administrator(admin, usage):
    answer = admin.call("GET", "/usage?by=project,model")
    row = {"model": "moonshine-tiny-en", "dimension": "stt.audio_ms", "sessions": 1, "abandoned": 0}
    assert answer.json() == {
        "by": ["project", "model"],
        "data": [{"project": "acme", "amount": 100} | row, {"project": "default", "amount": 23} | row],
    }
    assert [row["amount"] for row in admin.call("GET", "/usage?project=acme").json()["data"]] == [100]
    assert admin.call("GET", "/usage?until=2025-12-31").json()["data"] == []
    assert admin.call("GET", "/usage?since=2026-01-01&until=2026-01-02&by=").json()["data"][0]["amount"] == 123


def test_an_administrator_needs_no_other_scope_to_read_usage(admin, usage):
    secret = admin.key("default", Scope.ADMIN)
    assert [row["amount"] for row in admin.call("GET", "/usage", secret).json()["data"]] == [100, 23]


def test_usage_of_other_projects_does_not_exist_for_a_project(admin, usage):
    secret = admin.key("acme", Scope.USAGE)
    assert [row["amount"] for row in admin.call("GET", "/usage", secret).json()["data"]] == [100]
    assert [row["amount"] for row in admin.call("GET", "/usage?project=acme", secret).json()["data"]] == [100]
    other = error(admin.call("GET", "/usage?project=default", secret))
    assert other == error(admin.call("GET", "/usage?project=nobody", secret)) == (404, "not_found", "project")


@pytest.mark.parametrize("how", [{"path": "/usage?format=csv"}, {"path": "/usage", "headers": {"accept": "text/csv"}}])
def test_usage_as_csv(admin, usage, how):
    answer = admin.call("GET", **how)
    assert answer.headers["content-type"].startswith("text/csv")
    assert [row["amount"] for row in csv.DictReader(io.StringIO(answer.text))] == ["100", "23"]


def test_the_format_counts_more_than_what_is_accepted(admin, usage):
    answer = admin.call("GET", "/usage?format=json", headers={"accept": "text/csv"})
    assert answer.json()["by"] == ["day", "project"]


@pytest.mark.parametrize(
    ("query", "param"),
    [("by=colour", "by"), ("since=yesterday", "since"), ("until=", "until"), ("format=xml", "format")],
)
def test_a_wrong_usage_query_names_the_parameter(admin, usage, query, param):
    assert error(admin.call("GET", f"/usage?{query}")) == (400, "invalid_request", param)


def test_a_defect_says_nothing_of_itself(admin, monkeypatch):
    monkeypatch.setattr(admin.control, "list_projects", lambda: 1 / 0)
    answer = admin.call("GET", "/projects")
    assert error(answer)[:2] == (500, "internal_error")
    assert "division" not in answer.text


def test_the_document_says_what_the_api_does(admin):
    document = admin.call("GET", "/openapi.json").json()
    assert document["servers"] == [{"url": "/admin/v1"}]
    operations = {
        operation["operationId"]: operation for path in document["paths"].values() for operation in path.values()
    }
    assert set(operations) == {
        "list_projects", "create_project", "change_project", "forget_tags", "rotate_content_key",
        "export_subject", "erase_subject", "erase_project", "read_policy", "explain_policy",
        "list_keys", "create_key", "rotate_key", "limit_key", "revoke_key",
        "read_usage", "read_audit", "read_checkpoint", "read_proof",
        "read_statement", "issue_statement", "read_budgets",
        "list_organisations", "change_organisation",
        "list_webhooks", "create_webhook", "delete_webhook",
        "list_exports", "list_gaps", "settle_gaps", "send_gaps_again", "replay_export",
    }  # fmt: skip
    for operation in operations.values():
        assert operation["security"] == [{"HTTPBearer": []}]
        expected = "201" if operation["operationId"].startswith(("create", "issue", "rotate_key")) else "200"
        assert set(operation["responses"]) == {expected, "default"}
        schema = operation["responses"]["default"]["content"]["application/json"]["schema"]
        assert schema == {"$ref": "#/components/schemas/ErrorAnswer"}
    assert set(operations["read_usage"]["responses"]["200"]["content"]) == {"application/json", "text/csv"}


def test_the_document_is_for_those_who_may_inspect(admin):
    assert error(admin.client.get("/admin/v1/openapi.json"))[0] == 401
    assert error(admin.call("GET", "/openapi.json", admin.key("acme", Scope.SPEAK)))[0] == 403
    assert admin.call("GET", "/openapi.json", admin.key("acme", Scope.USAGE)).status_code == 200


async def test_usage_is_found_by_a_tag_as_it_was_sent(admin, tmp_path):
    label = admin.ring.labels("acme", ("patient=Jane Roe",))
    ledger = SqliteLedger(tmp_path / "ledger.db", "a")
    for number, tags in enumerate((label, (), ("patient=Jane Roe",))):
        quantity = Quantity(Dimension.STT_AUDIO_MS, 10**number)
        entry = Entry(
            project="acme", key_id="k1", session=str(uuid.UUID(int=number)), sequence=0, at_unix_ms=1,
            surface="deepgram", model="m", quantity=quantity, tags=tags,
        )  # fmt: skip
        await ledger.append([entry])
    await ledger.close()

    def amounts(secret=None, **query):
        return [row["amount"] for row in admin.call("GET", "/usage", secret, params=query).json()["data"]]

    tag = "patient=Jane Roe"
    assert amounts(tag=tag, project="acme") == amounts(admin.key("acme", Scope.USAGE), tag=tag) == [101]
    assert amounts(tag="patient=John Doe", project="acme") == []
    assert error(admin.call("GET", "/usage", params={"tag": tag})) == (400, "invalid_request", "project")
    assert admin.call("POST", "/projects/acme/forget_tags").json()["id"] == "acme"
    assert amounts(tag=tag, project="acme") == [100]
    assert error(admin.call("POST", "/projects/nobody/forget_tags")) == (404, "not_found", "id")


# -- data subjects -----------------------------------------------------------------------------------------------------


def test_what_is_kept_about_a_person_is_exported_and_erased_and_the_name_is_in_no_log(admin):
    for id, subjects in (("r1", ("jane",)), ("r2", ())):
        asyncio.run(admin.answers.put("acme", Keep(id, b'{"said": "yes"}', (), subjects), 3600))
    answer = admin.call("POST", "/projects/acme/subjects/export", json={"subject": "jane"})
    assert answer.headers["content-type"] == "application/jsonl"
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert [line["kind"] for line in lines] == ["export", "answer", "end"]
    assert lines[1]["response"] == {"said": "yes"}
    certificate = admin.call("POST", "/projects/acme/subjects/erase", json={"subject": "jane"}).json()
    assert certificate["erased"] == dict.fromkeys(
        ("files", "jobs", "lines", "notices", "remembered", "under_way"), 0
    ) | {"answers": 1}
    assert certificate["record"]["action"] == "subject.erase"
    assert certificate["log"]["size"] == certificate["log"]["number"] + 1
    actions = [(each.action.value, each.actor) for each in admin.log.records if each.action != "manage"]
    first = admin.secret.split("_")[1]
    assert actions == [("subject.export", first), ("subject.erase", first)]
    objects = [each.object for each in admin.log.records if each.action == "manage"]
    assert objects == ["POST /admin/v1/projects/acme/subjects/export", "POST /admin/v1/projects/acme/subjects/erase"]
    erased = admin.call("POST", "/projects/acme/erase").json()
    assert erased["erased"] == dict.fromkeys(
        ("files", "jobs", "notices", "remembered", "resources", "under_way"), 0
    ) | {"answers": 1}
    assert admin.call("POST", "/projects/acme/rotate_key").json()["id"] == "acme"


def test_of_a_project_that_is_not_there_or_of_nobody_nothing_is_exported(admin):
    for path in ("export", "erase"):
        wrong = admin.call("POST", f"/projects/nobody/subjects/{path}", json={"subject": "jane"})
        assert error(wrong) == (404, "not_found", "project")
        assert error(admin.call("POST", f"/projects/acme/subjects/{path}", json={"subject": ""}))[:2] == (
            *(400, "invalid_request"),
        )
    assert error(admin.call("POST", "/projects/nobody/erase"))[0] == 404


# -- the audit log -----------------------------------------------------------------------------------------------------


def test_who_manages_is_in_the_audit_log_and_what_they_change_is_by_them(admin):
    usage = admin.key("acme", Scope.USAGE)
    admin.directory.drained(1_000)
    assert admin.call("POST", "/keys", json={"project": "acme"}).status_code == 201
    assert admin.call("GET", "/keys", "wrong").status_code == 401
    assert admin.call("GET", "/keys", usage).status_code == 403
    assert admin.call("GET", "/a?b=secret/%22x", "wrong2").status_code == 401
    said = [(each.outcome.value, each.actor, each.object, each.reason) for each in admin.log.records]
    first, mine = (secret.split("_")[1] for secret in (admin.secret, usage))
    assert said == [
        ("allowed", first, "POST /admin/v1/keys", ""),
        ("refused", "", "GET /admin/v1/keys", "unauthenticated"),
        ("allowed", mine, "GET /admin/v1/keys", ""),
        ("refused", mine, "GET /admin/v1/keys", "forbidden"),
    ]
    (change,) = admin.directory.changes()[1]
    assert (change.record.action, change.record.actor, change.record.project) == ("key.create", first, "acme")


def test_the_audit_log_is_read_with_a_scope_of_its_own(admin):
    auditor = admin.key("acme", Scope.AUDIT)
    assert admin.call("GET", "/audit/checkpoint", auditor).status_code == 404
    for path in ("/audit", "/audit/checkpoint", "/audit/proof?size=1"):
        assert admin.call("GET", path, admin.key("acme", Scope.ADMIN)).status_code == 403
        assert admin.call("GET", path, admin.key("acme", Scope.USAGE)).status_code == 403
    assert admin.call("GET", "/keys", auditor).status_code == 200
    assert admin.call("POST", "/keys", auditor, json={"project": "acme"}).status_code == 403
    lines = admin.call("GET", "/audit?limit=2", auditor)
    assert lines.headers["antiphon-next"] == "2"
    assert [json.loads(line)["number"] for line in lines.text.splitlines()] == [0, 1]
    events = admin.call("GET", "/audit?format=ocsf&start=1", auditor).text.splitlines()
    assert {json.loads(line)["class_uid"] for line in events} <= {3002, 6003}
    asyncio.run(admin.auditing.notary.sign())
    note = parse(admin.call("GET", "/audit/checkpoint", auditor).text)
    proof = admin.call("GET", f"/audit/proof?number=1&size={note.size}", auditor).json()["proof"]
    leaf = asyncio.run(admin.log.logged(1, 1))[0].leaf
    assert merkle.includes(leaf, 1, note.size, [base64.b64decode(each) for each in proof], note.root)
    proof = admin.call("GET", f"/audit/proof?old=3&size={note.size}", auditor).json()["proof"]
    assert len(proof) == len(merkle.consistency(3, note.size))
    for query in ("size=9999", f"size={note.size}&number={note.size}", "size=2&old=3"):
        assert admin.call("GET", f"/audit/proof?{query}", auditor).status_code == 404


def test_webhooks_are_made_listed_and_deleted(admin):
    made = admin.call("POST", "/webhooks", json={"project": "acme", "name": "n", "url": "https://x.example/hook"})
    assert made.status_code == 201
    told = made.json()
    secret = told.pop("secret")
    assert admin.ring.webhooks("acme") == []
    admin.clock.advance_ms(1_000)
    admin.ring.refresh()
    (known,) = admin.ring.webhooks("acme")
    assert (known.id, known.secret, known.url) == (told["id"], secret, "https://x.example/hook")
    listed = admin.call("GET", "/webhooks", params={"project": "acme"})
    assert listed.json() == {"data": [told]}
    assert secret not in listed.text
    assert admin.call("GET", "/webhooks", params={"project": "default"}).json() == {"data": []}
    for body, param in (({"url": "file:///x"}, "url"), ({"project": "none", "url": "https://x.example"}, "project")):
        assert error(admin.call("POST", "/webhooks", json=body))[2] == param
    user = admin.key("acme", Scope.TRANSCRIBE)
    assert admin.call("POST", "/webhooks", user, json={"url": "https://x.example"}).status_code == 403
    assert admin.call("DELETE", f"/webhooks/{told['id']}").json() == told
    assert admin.call("DELETE", f"/webhooks/{told['id']}").status_code == 404
    admin.clock.advance_ms(1_000)
    admin.ring.refresh()
    assert admin.ring.webhooks("acme") == []


def test_the_policy_in_force_is_shown_with_what_its_profile_requires(admin):
    admin.control.profiles = Profiles(projects={"acme": PROFILES["hipaa"]})
    shown = admin.call("GET", "/projects/acme/policy").json()
    assert (shown["policy"]["agreements"], shown["stored"]["agreements"]) == ("baa", "")
    assert (shown["profile"]["name"], shown["profile"]["audit_days"], shown["audit_days"]) == ("hipaa", 2192, 2557)
    assert error(admin.call("PATCH", "/projects/acme", json={"tags": "plain"})) == (400, "invalid_request", "tags")
    assert admin.call("GET", "/projects/default/policy").json()["profile"] is None
    assert error(admin.call("GET", "/projects/none/policy")) == (404, "not_found", "id")


def test_which_engines_may_serve_is_explained(admin):
    admin.call("PATCH", "/projects/acme", json={"regions": "eu", "max_retention": "none"})
    shown = admin.call("GET", "/projects/acme/policy/explain?model=m").json()
    assert (shown["project"], shown["model"], shown["allowed"]) == ("acme", "m", True)
    near, far = shown["engines"]
    assert (near["engine"], near["allowed"], near["region"], near["processor"]) == ("near", True, "eu-de", "self")
    assert not far["allowed"]
    assert far["unmet"] == [
        {"required": "region eu", "found": "no region"},
        {"required": "no retention", "found": "retention not known"},
    ]


def test_a_policy_is_shown_to_those_who_audit_and_to_its_own_project(admin):
    for scope in (Scope.USAGE, Scope.AUDIT):
        assert admin.call("GET", "/projects/acme/policy", admin.key("acme", scope)).status_code == 200
    assert admin.call("GET", "/projects/acme/policy", admin.key("default", Scope.AUDIT)).status_code == 200
    assert error(admin.call("GET", "/projects/acme/policy", admin.key("default", Scope.USAGE)))[0] == 404
    assert error(admin.call("GET", "/projects/acme/policy", admin.key("acme", Scope.SPEAK)))[0] == 403


def test_budgets_are_set_with_the_policy_and_shown_as_they_stand(admin):
    lines = {"budgets": "monthly tokens 100 month\nsoft requests 5 day soft key=K1", "limits": "calls=3"}
    changed = admin.call("PATCH", "/projects/acme", json=lines)
    assert {name: changed.json()[name] for name in lines} == lines
    assert admin.call("PATCH", "/projects/acme", json={"budgets": "what"}).json()["error"]["param"] == "budgets"
    admin.clock.advance_ms(1000)
    admin.ring.refresh()
    with admin.client:  # one event loop, as usage is read beside
        for _ in range(100):
            states = admin.call("GET", "/budgets?project=acme").json()["data"]
            if states:
                break
    assert [(each["name"], each["amount"], each["used"], each["reserved"], each["left"]) for each in states] == [
        ("monthly", 100, 0, 0, 100),
        ("soft", 5, 0, 0, 5),
    ]
    own = admin.key("acme", Scope.USAGE)
    assert admin.call("GET", "/budgets", own).json()["project"] == "acme"
    assert admin.call("GET", "/budgets?project=default", own).status_code == 404
    assert error(admin.call("GET", "/budgets?project=none"))[::2] == (404, "project")


def test_organisations_have_budgets_that_count_their_projects_together(admin):
    assert admin.call("PATCH", "/projects/acme", json={"organisation": "group"}).json()["organisation"] == "group"
    assert error(admin.call("PATCH", "/projects/acme", json={"organisation": "A b"}))[2] == "organisation"
    texts = {"budgets": "all tokens 100 month", "limits": "calls=3"}
    known = {"id": "group", "projects": ["acme"]}
    assert admin.call("PATCH", "/organisations/group", json=texts).json() == known | texts
    assert admin.call("PATCH", "/organisations/group", json={"limits": ""}).json() == known | texts | {"limits": ""}
    for wrong in ({"budgets": "all tokens 1 month key=K1"}, {"budgets": "what"}, {"limits": "key=K1 calls=1"}):
        assert admin.call("PATCH", "/organisations/group", json=wrong).status_code == 400
    assert admin.call("PATCH", "/organisations/A", json={}).status_code == 400
    assert admin.call("GET", "/organisations").json()["data"] == [known | texts | {"limits": ""}]
    asked = "/budgets?organisation=group"
    admin.clock.advance_ms(1000)
    admin.ring.refresh()
    states = admin.call("GET", asked).json()
    assert (states["project"], states["organisation"]) == ("", "group")
    own = admin.key("acme", Scope.USAGE)
    assert error(admin.call("GET", asked, own))[::2] == (404, "organisation")
    assert error(admin.call("GET", asked + "&project=acme"))[::2] == (400, "organisation")
    assert error(admin.call("GET", "/budgets?organisation=none"))[::2] == (404, "organisation")
