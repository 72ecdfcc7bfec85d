"""Sign-in in a browser: with a provider behind a socket, and what attackers would try."""

import asyncio
import base64
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_network
from urllib.parse import parse_qs, urlsplit

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from fastapi.testclient import TestClient
from test_admin import Admin, error

from antiphon.config import Config, Invalid
from antiphon.config import Oidc as Table
from antiphon.core.audit import Action, Outcome
from antiphon.core.errors import CapacityError
from antiphon.core.identity import ROLES, AccessRole, Principal
from antiphon.foundation import open_sign_ins
from antiphon.testing import FakeClock
from antiphon.trust import sign_in
from antiphon.trust.fetch import Fetcher, FetchLimits
from antiphon.trust.oidc import DISCOVERY, Oidc, Provider
from antiphon.trust.sign_in import PENDING_S, SESSION_S, SignIns

KEY = ec.generate_private_key(ec.SECP256R1())
URL = "http://127.0.0.1:9"  # of our server, as browsers know it
ROLE_NAMES = {"ops": AccessRole.OWNER, "money": AccessRole.BILLING, "audit": AccessRole.AUDITOR}
LOOPBACK = (ip_network("127.0.0.0/8"),)


class FakeProvider(ThreadingHTTPServer):
    """An OpenID provider at a real address. It signs in whoever asks, and keeps the rules of codes and of PKCE."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Answers)
        self.issuer = f"http://127.0.0.1:{self.server_port}/realm"
        self.document = {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize?tenant=a",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/keys",
        }
        self.codes = {}
        self.asked = []  # what came to the token endpoint: headers and form
        self.clock = None
        self.claims = {}  # what is different in the next token
        self.secret = ""
        self.status = 200

    def authorize(self, location, client="antiphon"):
        """Return what the provider has the browser bring to our callback."""
        url = urlsplit(location)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        assert location.startswith(self.document["authorization_endpoint"])
        assert (query["response_type"], query["code_challenge_method"]) == ("code", "S256")
        assert (query["redirect_uri"], query["tenant"]) == (f"{URL}/admin/v1/callback", "a")
        code = f"code-{len(self.codes)}"
        self.codes[code] = {**query, "client_id": client}
        return {"code": code, "state": query["state"]}

    def token(self, form, headers):
        self.asked.append((headers, form))
        begun = self.codes.pop(form["code"], None)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(form["code_verifier"].encode()).digest()).rstrip(b"=")
        if (
            begun is None
            or begun["client_id"] != form["client_id"]
            or begun["redirect_uri"] != form["redirect_uri"]
            or begun["code_challenge"].encode() != challenge
        ):
            return 400, {"error": "invalid_grant"}
        now = self.clock.unix_ms() // 1000
        claims = {"iss": self.issuer, "aud": "antiphon", "sub": "ann", "iat": now, "exp": now + 60, "roles": ["ops"]}
        claims |= {"nonce": begun["nonce"]} | self.claims
        return self.status, {"id_token": jwt.encode(claims, KEY, "ES256", headers={"kid": "k"}), "access_token": "x"}


class _Answers(BaseHTTPRequestHandler):
    def do_GET(self):
        key = jwt.get_algorithm_by_name("ES256").to_jwk(KEY.public_key(), as_dict=True) | {"kid": "k", "alg": "ES256"}
        known = {f"/realm{DISCOVERY}": self.server.document, "/realm/keys": {"keys": [key]}}
        self._say(200, known[self.path])

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        form = {name: values[0] for name, values in parse_qs(body).items()}
        self._say(*self.server.token(form, self.headers))

    def _say(self, status, value):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def provider():
    made = FakeProvider()
    thread = threading.Thread(target=made.serve_forever, args=(0.02,))
    thread.start()
    yield made
    made.shutdown()
    made.server_close()
    thread.join()


def make(tmp_path, provider, url=URL, secret=""):
    def sign_ins(clock):
        provider.clock = clock
        fetcher = Fetcher(FetchLimits(total_s=5), allow_private=LOOPBACK)
        oidc = Oidc(Provider(provider.issuer, "antiphon", roles=ROLE_NAMES, project="acme"), fetcher.fetch, clock)
        asyncio.run(oidc.look())
        return SignIns(oidc, fetcher.exchange, clock, url, secret)

    return Admin(tmp_path, sign_ins)


@pytest.fixture
def admin(tmp_path, provider):
    made = make(tmp_path, provider)
    yield made
    made.ring.close()


class Browser:
    """One person's browser, at our server."""

    def __init__(self, admin):
        self.client = TestClient(admin.server, base_url=URL, follow_redirects=False, raise_server_exceptions=False)

    def get(self, path, **more):
        return self.client.get(f"/admin/v1{path}", **more)

    def post(self, path, origin=URL, **more):
        return self.client.post(f"/admin/v1{path}", headers={"origin": origin} if origin else {}, **more)

    def sign_in(self, provider):
        brought = provider.authorize(self.get("/login").headers["location"])
        return self.get("/callback", params=brought)


def last(admin):
    return admin.log.records[-1]


def test_a_person_signs_in_manages_and_signs_out(admin, provider):
    browser = Browser(admin)
    assert error(browser.get("/projects"))[0] == 401
    begun = browser.get("/login")
    assert begun.status_code == 303
    done = browser.get("/callback", params=provider.authorize(begun.headers["location"]))
    assert (done.status_code, done.headers["location"]) == (303, "session")
    cookie = next(each for each in done.headers.get_list("set-cookie") if each.startswith("antiphon-session="))
    assert {"HttpOnly", "SameSite=lax", f"Max-Age={SESSION_S}", "Path=/"} <= set(cookie.split("; "))
    assert done.headers["cache-control"] == "no-store"
    assert (last(admin).action, last(admin).outcome) == (Action.SIGN_IN, Outcome.ALLOWED)
    assert (last(admin).actor, last(admin).object) == ("oidc:ann", "GET /admin/v1/callback")
    who = browser.get("/session").json()
    assert (who["actor"], who["project"], set(who["scopes"])) == ("oidc:ann", "acme", ROLES[AccessRole.OWNER])
    assert browser.get("/projects").status_code == 200
    assert browser.post("/projects", json={"id": "new"}).status_code == 201
    assert last(admin).actor == "oidc:ann"
    stolen = dict(browser.client.cookies)
    assert browser.post("/logout").status_code == 204
    assert (last(admin).action, last(admin).actor) == (Action.SIGN_OUT, "oidc:ann")
    assert not browser.client.cookies
    browser.client.cookies.update(stolen)
    assert error(browser.get("/projects"))[0] == 401


@pytest.mark.parametrize("origin", [None, "https://evil.example", "null", f"{URL}.evil.example", f"{URL}0"])
def test_another_sites_page_changes_nothing(admin, provider, origin):
    browser = Browser(admin)
    browser.sign_in(provider)
    for path in ("/projects", "/logout"):
        assert error(browser.post(path, origin, json={"id": "new"}))[:2] == (403, "forbidden")
    assert last(admin).outcome is Outcome.REFUSED
    assert browser.get("/session").status_code == 200
    assert [each.id for each in admin.control.list_projects()].count("new") == 0


def test_a_key_needs_no_origin_and_a_cookie_does_not_replace_it(admin, provider):
    browser = Browser(admin)
    browser.sign_in(provider)
    wrong = {"authorization": "Bearer wrong"}
    assert browser.get("/projects", headers=wrong).status_code == 401
    browser.client.cookies.clear()
    browser.client.cookies["antiphon-session"] = admin.secret  # a key is none of a session's
    assert browser.get("/projects").status_code == 401
    assert admin.call("POST", "/projects", json={"id": "new"}).status_code == 201


def test_a_state_is_taken_once_and_from_the_browser_that_asked(admin, provider):
    browser, thief = Browser(admin), Browser(admin)
    begun = browser.get("/login")
    pending = dict(browser.client.cookies)
    brought = provider.authorize(begun.headers["location"])
    for stranger in (Browser(admin), thief):  # without any cookie, then with the one of another sign-in
        assert error(stranger.get("/callback", params=brought))[:2] == (401, "unauthenticated")
        stranger.get("/login")
    assert error(thief.get("/callback", params=brought))[0] == 401
    assert not provider.asked
    assert browser.get("/callback", params=brought).status_code == 303
    browser.client.cookies.update(pending)
    again = {**brought, "code": provider.authorize(begun.headers["location"])["code"]}
    assert "used already" in browser.get("/callback", params=again).json()["error"]["message"]
    outcomes = [each.outcome for each in admin.log.records if each.action is Action.SIGN_IN]
    assert outcomes == [Outcome.REFUSED, Outcome.ALLOWED]  # further refusals of a kind are counted
    assert len(provider.asked) == 1


@pytest.mark.parametrize(
    "claims",
    [
        {"nonce": "another"}, {"nonce": None}, {"aud": "other"}, {"azp": "other"}, {"aud": ["antiphon", "other"]},
        {"iss": "https://evil.example"}, {"exp": 1}, {"iat": 10**11},
    ],
    ids=str,
)  # fmt: skip
def test_a_token_that_is_not_for_this_sign_in_signs_nobody_in(admin, provider, claims):
    provider.claims = claims
    browser = Browser(admin)
    assert error(browser.sign_in(provider))[:2] == (401, "unauthenticated")
    assert (last(admin).action, last(admin).reason) == (Action.SIGN_IN, "unauthenticated")
    assert browser.get("/session").status_code == 401


def test_a_code_for_another_client_or_challenge_is_refused(admin, provider):
    browser = Browser(admin)
    other = provider.authorize(browser.get("/login").headers["location"], client="other")
    assert browser.get("/callback", params=other).status_code == 401
    code = provider.authorize(Browser(admin).get("/login").headers["location"])["code"]  # injected
    own = provider.authorize(browser.get("/login").headers["location"])
    assert browser.get("/callback", params={**own, "code": code}).status_code == 401


def test_an_answer_of_another_issuer_is_refused_before_the_code_is_sent(admin, provider):
    browser = Browser(admin)
    brought = provider.authorize(browser.get("/login").headers["location"])
    mixed = browser.get("/callback", params={**brought, "iss": "https://evil.example"})
    assert "another issuer" in mixed.json()["error"]["message"]
    assert not provider.asked


def test_a_provider_that_names_its_issuer_must_name_it(tmp_path, provider):
    provider.document["authorization_response_iss_parameter_supported"] = True
    admin = make(tmp_path, provider)
    browser = Browser(admin)
    assert browser.sign_in(provider).status_code == 401
    brought = provider.authorize(browser.get("/login").headers["location"])
    assert browser.get("/callback", params={**brought, "iss": provider.issuer}).status_code == 303
    admin.ring.close()


def test_a_sign_in_and_a_session_end(admin, provider):
    browser = Browser(admin)
    begun = browser.get("/login")
    admin.clock.advance_ms(PENDING_S * 1000)
    late = browser.get("/callback", params=provider.authorize(begun.headers["location"]))
    assert "too long" in late.json()["error"]["message"]
    browser.sign_in(provider)
    admin.clock.advance_ms(SESSION_S * 1000 - 1)
    assert browser.get("/projects").status_code == 200
    admin.clock.advance_ms(1)
    assert browser.get("/projects").status_code == 401


def test_roles_are_what_the_provider_said_last(admin, provider):
    first, second = Browser(admin), Browser(admin)
    assert first.sign_in(provider).status_code == 303
    provider.claims = {"roles": ["audit"]}
    second.sign_in(provider)
    for browser in (first, second):
        assert browser.get("/projects").status_code == 200
        assert browser.post("/projects", json={"id": "new"}).status_code == 403
    provider.claims = {"roles": []}
    assert error(Browser(admin).sign_in(provider))[:2] == (403, "forbidden")
    assert (last(admin).action, last(admin).actor) == (Action.SIGN_IN, "oidc:ann")
    for browser in (first, second):
        assert browser.get("/projects").status_code == 401


def test_there_is_no_open_redirect(admin, provider):
    for query in ("?next=https://evil.example", "?redirect_uri=https://evil.example", "?issuer=https://evil.example"):
        location = Browser(admin).get(f"/login{query}").headers["location"]
        assert "evil" not in location
    hosts = {"host": "evil.example", "x-forwarded-host": "evil.example"}
    assert "evil" not in Browser(admin).get("/login", headers=hosts).headers["location"]
    browser = Browser(admin)
    brought = provider.authorize(browser.get("/login").headers["location"])
    done = browser.get("/callback", params={**brought, "next": "https://evil.example"}, headers=hosts)
    assert done.headers["location"] == "session"


@pytest.mark.parametrize(
    "params", [{"error": "access_denied"}, {"code": ""}, {"code": "x" * 5000}, {"code": "unknown"}]
)
def test_what_is_no_code_signs_nobody_in(admin, provider, params):
    browser = Browser(admin)
    state = provider.authorize(browser.get("/login").headers["location"])["state"]
    answer = browser.get("/callback", params={"state": state, **params})
    assert error(answer)[0] == 401
    assert "access_denied" not in answer.text


def test_a_parameter_twice_is_refused(admin, provider):
    browser = Browser(admin)
    brought = provider.authorize(browser.get("/login").headers["location"])
    assert browser.get("/callback", params=[*brought.items(), ("state", "x")]).status_code == 401


def test_a_provider_that_fails_is_not_the_persons_fault(admin, provider):
    provider.status = 500
    assert error(Browser(admin).sign_in(provider))[:2] == (503, "keys_unavailable")


def test_over_tls_the_cookies_are_of_this_host_alone(tmp_path, provider):
    admin = make(tmp_path, provider, "https://antiphon.example")
    cookie = Browser(admin).get("/login").headers["set-cookie"]
    assert cookie.startswith("__Host-antiphon-sign-in=")
    assert "Secure" in cookie.split("; ")
    admin.ring.close()


@pytest.mark.parametrize("methods", [None, ["client_secret_post"]])
def test_a_client_secret_is_sent_as_the_provider_takes_it(tmp_path, provider, methods):
    if methods:
        provider.document["token_endpoint_auth_methods_supported"] = methods
    admin = make(tmp_path, provider, secret="s:1 ")
    assert Browser(admin).sign_in(provider).status_code == 303
    headers, form = provider.asked[0]
    basic = base64.b64encode(b"antiphon:s%3A1%20").decode()
    assert (headers["authorization"], form.get("client_secret")) == (
        (None, "s:1 ") if methods else (f"Basic {basic}", None)
    )
    admin.ring.close()


def test_sessions_are_bounded(admin, monkeypatch):
    monkeypatch.setattr(sign_in, "MAX_SESSIONS", 20)
    ann, bob = (Principal("acme", f"oidc:{name}", ROLES[AccessRole.OWNER]) for name in ("ann", "bob"))
    secrets = [admin.sign_ins._open(ann)[0] for _ in range(sign_in.MAX_OF_PERSON + 1)]
    assert len(admin.sign_ins._sessions) == sign_in.MAX_OF_PERSON
    assert secrets[0] != secrets[1]
    assert admin.sign_ins.holder(secrets[1]).principal == ann
    for _ in range(20 - sign_in.MAX_OF_PERSON):
        admin.sign_ins._open(bob)
    with pytest.raises(CapacityError):
        admin.sign_ins._open(Principal("acme", "oidc:eve", frozenset()))


def test_the_configuration_says_whether_people_sign_in_in_browsers(provider, monkeypatch):
    clock = FakeClock()
    oidc = Oidc(Provider(provider.issuer, "antiphon"), None, clock)
    assert open_sign_ins(Config(), oidc, clock) is None
    assert open_sign_ins(Config(oidc=Table(url=URL)), None, clock) is None
    config = Config(oidc=Table(url=URL, secret_env="ANTIPHON_TEST_SECRET"))
    with pytest.raises(Invalid, match="ANTIPHON_TEST_SECRET is not set"):
        open_sign_ins(config, oidc, clock)
    monkeypatch.setenv("ANTIPHON_TEST_SECRET", "s")
    made = open_sign_ins(config, oidc, clock)
    assert (made.origin, made._secret) == (URL, "s")


def test_without_it_there_are_no_such_addresses(tmp_path):
    admin = Admin(tmp_path)
    for path in ("/login", "/callback", "/session"):
        assert admin.client.get(f"/admin/v1{path}").status_code == 401
        assert admin.call("GET", path).status_code == 404
    admin.ring.close()
