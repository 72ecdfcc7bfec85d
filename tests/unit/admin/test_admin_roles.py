"""The management API's matrix of authentication: every operation, for every kind of caller; and what a role may do."""

import pytest
from test_admin import Admin, error

from antiphon.core.audit import Action, Outcome
from antiphon.core.identity import OWN_SCOPES, ROLES, USUAL_SCOPES, AccessRole, KeyLimits, Scope

# Every operation, with the scopes that suffice for it. In a project's path or query it is always the caller's own.
OPERATIONS = {
    "list_projects": ("GET", "/projects", {Scope.ADMIN, Scope.AUDIT}),
    "create_project": ("POST", "/projects", {Scope.ADMIN}),
    "change_project": ("PATCH", "/projects/acme", {Scope.ADMIN}),
    "forget_tags": ("POST", "/projects/acme/forget_tags", {Scope.ADMIN}),
    "read_policy": ("GET", "/projects/acme/policy", {Scope.ADMIN, Scope.AUDIT, Scope.USAGE, Scope.KEYS}),
    "explain_policy": (
        *("GET", "/projects/acme/policy/explain?model=m", {Scope.ADMIN, Scope.AUDIT, Scope.USAGE, Scope.KEYS}),
    ),
    "rotate_content_key": ("POST", "/projects/acme/rotate_key", {Scope.ADMIN}),
    "export_subject": ("POST", "/projects/acme/subjects/export", {Scope.ADMIN}),
    "erase_subject": ("POST", "/projects/acme/subjects/erase", {Scope.ADMIN}),
    "erase_project": ("POST", "/projects/acme/erase", {Scope.ADMIN}),
    "list_organisations": ("GET", "/organisations", {Scope.ADMIN, Scope.AUDIT}),
    "change_organisation": ("PATCH", "/organisations/group", {Scope.ADMIN}),
    "list_keys": ("GET", "/keys", {Scope.ADMIN, Scope.AUDIT, Scope.KEYS}),
    "create_key": ("POST", "/keys", {Scope.ADMIN, Scope.KEYS}),
    "rotate_key": ("POST", "/keys/KEY/rotate", {Scope.ADMIN, Scope.KEYS}),
    "limit_key": ("PATCH", "/keys/KEY", {Scope.ADMIN}),
    "revoke_key": ("DELETE", "/keys/KEY", {Scope.ADMIN, Scope.KEYS}),
    "list_webhooks": ("GET", "/webhooks", {Scope.ADMIN, Scope.AUDIT}),
    "create_webhook": ("POST", "/webhooks", {Scope.ADMIN}),
    "delete_webhook": ("DELETE", "/webhooks/WEBHOOK", {Scope.ADMIN}),
    "read_budgets": ("GET", "/budgets", {Scope.ADMIN, Scope.BILLING, Scope.USAGE}),
    "read_usage": ("GET", "/usage", {Scope.ADMIN, Scope.BILLING, Scope.USAGE}),
    "read_audit": ("GET", "/audit", {Scope.AUDIT}),
    "read_checkpoint": ("GET", "/audit/checkpoint", {Scope.AUDIT}),
    "read_proof": ("GET", "/audit/proof?size=1", {Scope.AUDIT}),
    "read_statement": ("GET", "/statement?period=2023-10", {Scope.ADMIN, Scope.BILLING, Scope.USAGE}),
    "issue_statement": ("POST", "/statements", {Scope.ADMIN, Scope.BILLING}),
    "list_exports": ("GET", "/exports", {Scope.ADMIN, Scope.BILLING}),
    "list_gaps": ("GET", "/exports/out/gaps", {Scope.ADMIN, Scope.BILLING}),
    "settle_gaps": ("POST", "/exports/out/gaps/settle", {Scope.ADMIN, Scope.BILLING}),
    "send_gaps_again": ("POST", "/exports/out/gaps/send_again", {Scope.ADMIN, Scope.BILLING}),
    "replay_export": ("POST", "/exports/out/replay", {Scope.ADMIN, Scope.BILLING}),
}
BODIES = {
    "create_project": {"id": "new"},
    "change_project": {"weight": 2},
    "change_organisation": {"limits": "calls=9"},
    "export_subject": {"subject": "ann"},
    "erase_subject": {"subject": "ann"},
    "erase_project": {},
    "create_webhook": {"project": "acme", "url": "https://hooks.example/"},
    "create_key": {"project": "acme", "scopes": ["keys"]},
    "rotate_key": {"overlap_s": 60},
    "limit_key": {"models": ["m"]},
    "issue_statement": {"project": "acme", "period": "2023-10"},
    "settle_gaps": {},
    "send_gaps_again": {},
    "replay_export": {"position": 0},
}


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """One API for all these tests: it takes long to make."""
    made = Admin(tmp_path_factory.mktemp("admin"))
    yield made
    made.ring.close()


@pytest.fixture
def admin(shared):
    """The API, with a new key as `target`, and a new `webhook`."""
    now = shared.clock.unix_ms()
    shared.target = shared.control.create_key("acme", "target", [Scope.KEYS], now)[0]
    shared.webhook = shared.control.create_webhook("acme", "", "https://example.com/hook", now)
    yield shared
    for each in shared.control.list_webhooks():
        shared.control.delete_webhook(each.id, now)


def call(admin, operation, secret):
    method, path, _ = OPERATIONS[operation]
    body = {"json": BODIES[operation]} if operation in BODIES else {}
    headers = {"authorization": f"Bearer {secret}"} if secret is not None else {}
    path = path.replace("KEY", admin.target.id).replace("WEBHOOK", admin.webhook.id)
    return admin.client.request(method, f"/admin/v1{path}", headers=headers, **body)


def test_the_table_has_every_operation(admin):
    paths = admin.call("GET", "/openapi.json").json()["paths"]
    assert {each["operationId"] for path in paths.values() for each in path.values()} == set(OPERATIONS)


def test_who_is_not_known_gets_401_everywhere(admin):
    now = admin.clock.unix_ms()
    revoked, secret = admin.control.create_key("acme", "", list(Scope), now)
    admin.control.revoke_key(revoked.id, now)
    _, short = admin.control.create_key("acme", "", list(Scope), now, now + 1)
    admin.clock.advance_ms(2)
    for operation in OPERATIONS:
        for credential in (None, "", "wrong", "ant_00000000_000", secret, short):
            assert error(call(admin, operation, credential))[:2] == (401, "unauthenticated"), operation


@pytest.mark.parametrize("scope", Scope)
def test_a_scope_allows_what_the_table_says_and_nothing_else(admin, scope):
    secret = admin.key("acme", scope)
    for operation, (_, _, enough) in OPERATIONS.items():
        status = call(admin, operation, secret).status_code
        assert (status not in (401, 403)) if scope in enough else status == 403, operation


def test_a_key_from_elsewhere_than_its_networks_may_do_nothing(admin):
    limits = KeyLimits(networks=("192.0.2.0/24",))
    _, secret = admin.control.create_key("acme", "", list(Scope), admin.clock.unix_ms(), limits=limits)
    for operation in OPERATIONS:
        assert error(call(admin, operation, secret))[:2] == (403, "address_not_allowed"), operation
    last = admin.log.records[-1]
    assert (last.action, last.outcome, last.reason) == (Action.MANAGE, Outcome.REFUSED, "address_not_allowed")


OWN = ["read_policy", "explain_policy", "list_keys", "rotate_key", "revoke_key", "create_key"]


@pytest.mark.parametrize("operation", OWN)
def test_to_another_projects_key_a_project_does_not_exist(admin, operation):
    secret = admin.key("default", Scope.KEYS, Scope.USAGE)
    answer = call(admin, operation, secret)
    if operation == "list_keys":
        assert {each["project"] for each in answer.json()["data"]} == {"default"}
        assert admin.call("GET", "/keys?project=acme", secret).status_code == 404
    else:
        assert answer.status_code == 404


def test_what_the_roles_may_do(admin):
    for role, scopes in ROLES.items():
        made = admin.call("POST", "/keys", json={"project": "acme", "role": role})
        assert set(made.json()["scopes"]) == scopes
    allowed = {
        role: {name for name, (_, _, enough) in OPERATIONS.items() if enough & scopes} for role, scopes in ROLES.items()
    }
    assert allowed[AccessRole.OWNER] == set(OPERATIONS)
    assert allowed[AccessRole.BILLING] == {
        *("read_usage", "read_statement", "issue_statement", "list_exports", "list_gaps", "settle_gaps"),
        *("send_gaps_again", "replay_export", "read_budgets"),
    }
    assert allowed[AccessRole.AUDITOR] == {
        *(
            "list_projects",
            "list_organisations",
            "list_webhooks",
            "read_policy",
            "explain_policy",
            "list_keys",
            "read_audit",
            "read_checkpoint",
            "read_proof",
        ),
    }
    assert allowed[AccessRole.DEVELOPER] == {*OWN, "read_usage", "read_statement", "read_budgets"}


def test_without_scopes_or_a_role_a_key_has_the_usual_ones(admin):
    assert set(admin.call("POST", "/keys", json={}).json()["scopes"]) == USUAL_SCOPES


@pytest.mark.parametrize("scope", [*sorted(set(Scope) - OWN_SCOPES), Scope.SPEAK])
def test_nobody_gives_more_than_they_have(admin, scope):
    secret = admin.key("acme", Scope.KEYS, Scope.TRANSCRIBE)
    made = admin.call("POST", "/keys", secret, json={"project": "acme", "scopes": ["transcribe", scope]})
    assert error(made) == (403, "forbidden", "scopes")
    strong = admin.control.create_key("acme", "", [scope], admin.clock.unix_ms())[0]
    assert admin.call("POST", f"/keys/{strong.id}/rotate", secret, json={}).status_code == 403
    expected = 200 if scope is Scope.SPEAK else 403
    assert admin.call("DELETE", f"/keys/{strong.id}", secret).status_code == expected


def test_a_key_with_limits_gives_the_same_limits_only(admin):
    limits = KeyLimits(models=("gpt-*",))
    secret = admin.control.create_key("acme", "", [Scope.KEYS], admin.clock.unix_ms(), limits=limits)[1]
    assert admin.call("POST", "/keys", secret, json={"project": "acme", "scopes": ["keys"]}).status_code == 403
    given = {"project": "acme", "scopes": ["keys"], "models": ["gpt-*"]}
    assert admin.call("POST", "/keys", secret, json=given).json()["models"] == ["gpt-*"]
    assert admin.call("POST", f"/keys/{admin.target.id}/rotate", secret, json={}).status_code == 403


def test_a_key_that_expires_makes_none_that_lives_longer(admin):
    now = admin.clock.unix_ms()
    ends = now + 60_000
    key, secret = admin.control.create_key("acme", "", [Scope.KEYS], now, ends)
    given = {"project": "acme", "scopes": ["keys"]}
    assert admin.call("POST", "/keys", secret, json=given).json()["expires_unix_ms"] == ends
    earlier = given | {"expires_unix_ms": ends - 1}
    assert admin.call("POST", "/keys", secret, json=earlier).json()["expires_unix_ms"] == ends - 1
    later = admin.call("POST", "/keys", secret, json=given | {"expires_unix_ms": ends + 1})
    assert error(later) == (403, "forbidden", "expires_unix_ms")
    admin.clock.advance_ms(30_000)
    forever = admin.control.create_key("acme", "", [Scope.KEYS], now)[0]
    assert admin.call("POST", f"/keys/{forever.id}/rotate", secret, json={}).json()["expires_unix_ms"] == ends
    rotated = admin.call("POST", f"/keys/{key.id}/rotate", secret, json={"overlap_s": 10}).json()
    assert rotated["expires_unix_ms"] == ends
    by_admin = admin.call("POST", f"/keys/{rotated['id']}/rotate", json={}).json()
    assert by_admin["expires_unix_ms"] == ends  # it was to live for half a minute


def test_a_key_is_rotated_with_an_overlap(admin):
    made = admin.call("POST", f"/keys/{admin.target.id}/rotate", json={"overlap_s": 60})
    assert made.status_code == 201
    new = made.json()
    assert (new["project"], new["name"], new["scopes"]) == ("acme", "target", ["keys"])
    admin.ring._poll()
    assert admin.ring.authenticate(new["key"], Scope.KEYS).key_id == new["id"]
    assert admin.ring.holds(admin.target.id)
    admin.clock.advance_ms(60_000)
    assert not admin.ring.holds(admin.target.id)
    assert admin.ring.holds(new["id"])


def test_the_limits_of_a_key_are_set_and_shown(admin):
    answer = admin.call(
        "PATCH", f"/keys/{admin.target.id}", json={"networks": ["192.0.2.7/24"], "surfaces": ["openai"]}
    )
    assert (answer.json()["networks"], answer.json()["surfaces"]) == (["192.0.2.0/24"], ["openai"])
    given = {"networks": ["192.0.2.7/24"], "surfaces": ["openai"]}
    answer = admin.call("PATCH", f"/keys/{admin.target.id}", json=given)
    assert (answer.json()["networks"], answer.json()["surfaces"]) == (["192.0.2.0/24"], ["openai"])
    answer = admin.call("PATCH", f"/keys/{admin.target.id}", json={"models": ["a", "a"]})
    assert (answer.json()["networks"], answer.json()["models"]) == (["192.0.2.0/24"], ["a"])
    for wrong in ({"networks": ["x"]}, {"surfaces": ["antiphon"]}, {"models": [""]}, {"models": ["m"] * 65}):
        assert admin.call("PATCH", f"/keys/{admin.target.id}", json=wrong).status_code == 400
    assert admin.call("PATCH", "/keys/none", json={}).status_code == 404


def test_costs_are_for_administrators_and_billing(admin):
    path = "/statement?period=2023-10&margin=true"
    assert admin.call("GET", path, admin.key("acme", Scope.USAGE)).status_code == 403
    billing = admin.key("default", Scope.BILLING)
    assert admin.call("GET", f"{path}&project=acme", billing).status_code not in (403, 404)
