"""Tokens of an OpenID provider: which hold, and whose they are."""

import base64
import hashlib
import hmac
import json

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from antiphon.core.errors import CallerError, KeysUnavailable, PolicyError, Unauthenticated
from antiphon.core.identity import ROLES, AccessRole, Scope
from antiphon.testing import FakeClock
from antiphon.trust.oidc import DISCOVERY, LEEWAY_S, REFRESH_S, STALE_NS, Oidc, Provider, is_safe, is_token

ISSUER = "https://id.example/realm"
JWKS = "https://id.example/keys"
RSA = rsa.generate_private_key(65537, 2048)
KEYS = {"RS256": RSA, "ES256": ec.generate_private_key(ec.SECP256R1()), "EdDSA": ed25519.Ed25519PrivateKey.generate()}
OTHER = ec.generate_private_key(ec.SECP256R1())
PROVIDER = Provider(ISSUER, "antiphon", "groups", {"ops": AccessRole.OWNER, "money": AccessRole.BILLING}, "acme")


def card(kid, key, algorithm, **more):
    public = jwt.get_algorithm_by_name(algorithm).to_jwk(key.public_key(), as_dict=True)
    return public | {"kid": kid, "use": "sig"} | more


class House:
    """A provider that lists one key of each kind, by its algorithm; `down` is raised by every fetch."""

    def __init__(self, provider=PROVIDER):
        self.clock = FakeClock()
        self.keys = [card(name, key, name) for name, key in KEYS.items()]
        self.issuer = ISSUER
        self.jwks = JWKS
        self.down = None
        self.asked = []
        self.oidc = Oidc(provider, self.fetch, self.clock)

    async def fetch(self, url):
        self.asked.append(url)
        if self.down:
            raise self.down
        answers = {ISSUER + DISCOVERY: {"issuer": self.issuer, "jwks_uri": self.jwks}, self.jwks: {"keys": self.keys}}
        return json.dumps(answers[url]).encode()

    def claims(self, **more):
        now = self.clock.unix_ms() // 1000
        usual = {"iss": ISSUER, "aud": "antiphon", "sub": "ann", "iat": now, "exp": now + 300, "groups": ["ops"]}
        return {name: value for name, value in (usual | more).items() if value is not None}

    def token(self, algorithm="ES256", key=None, kid=None, **more):
        return jwt.encode(self.claims(**more), key or KEYS[algorithm], algorithm, headers={"kid": kid or algorithm})


@pytest.fixture
async def house():
    made = House()
    await made.oidc.look()
    return made


@pytest.mark.parametrize("algorithm", KEYS)
def test_a_token_says_who_calls_and_in_which_role(house, algorithm):
    caller = house.oidc.authenticate(house.token(algorithm))
    assert (caller.project, caller.key_id, caller.scopes) == ("acme", "oidc:ann", ROLES[AccessRole.OWNER])


def test_roles_add_up_and_others_mean_nothing(house):
    both = house.oidc.authenticate(house.token(groups=["money", "ops", "cooks", 7]))
    assert both.scopes == ROLES[AccessRole.OWNER] | ROLES[AccessRole.BILLING]
    assert house.oidc.authenticate(house.token(groups="money")).scopes == {Scope.BILLING}


@pytest.mark.parametrize("groups", [None, [], ["cooks"], {"ops": True}, 7])
def test_without_a_role_a_caller_may_do_nothing(house, groups):
    with pytest.raises(PolicyError, match="names no role") as caught:
        house.oidc.authenticate(house.token(groups=groups))
    assert (caught.value.status, caught.value.key_id) == (403, "oidc:ann")


@pytest.mark.parametrize(
    ("claim", "claims"),
    [("realm.roles", {"realm": {"roles": ["ops"]}}), ("https://x.example/roles", {"https://x.example/roles": ["ops"]})],
)
async def test_roles_may_be_in_a_nested_claim_or_one_with_dots(claim, claims):
    house = House(Provider(ISSUER, "antiphon", claim, {"ops": AccessRole.AUDITOR}))
    await house.oidc.look()
    assert house.oidc.authenticate(house.token(groups=None, **claims)).scopes == {Scope.AUDIT}


@pytest.mark.parametrize(
    "wrong",
    [
        {"aud": "other"}, {"aud": None}, {"iss": "https://evil.example"}, {"iss": None}, {"exp": None}, {"iat": None},
        {"sub": None}, {"exp": 1}, {"iat": 10**11}, {"nbf": 10**11}, {"exp": "soon"}, {"nbf": []},
        {"aud": ["antiphon", "other"]}, {"aud": ["antiphon", "other"], "azp": "other"},
        {"key": OTHER}, {"kid": "unknown"}, {"algorithm": "RS256", "kid": "ES256"},
    ],
    ids=lambda wrong: "another key" if "key" in wrong else str(wrong),
)  # fmt: skip
def test_what_does_not_hold_is_refused(house, wrong):
    try:
        token = house.token(**wrong)
    except TypeError:  # the library makes no token with such a time
        header, _, signature = house.token().split(".")
        body = base64.urlsafe_b64encode(json.dumps(house.claims(**wrong)).encode()).rstrip(b"=").decode()
        token = f"{header}.{body}.{signature}"
    with pytest.raises(Unauthenticated):
        house.oidc.authenticate(token)


def test_a_token_for_several_that_was_issued_to_us_holds(house):
    assert house.oidc.authenticate(house.token(aud=["antiphon", "other"], azp="antiphon"))


def test_a_token_is_not_signed_by_what_is_public(house):
    """With the public key as the secret of an HMAC, or by nothing at all."""

    def part(value):
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    pem = RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    signed = f"{part({'alg': 'HS256', 'kid': 'RS256'})}.{part(house.claims())}"
    mac = base64.urlsafe_b64encode(hmac.digest(pem, signed.encode(), hashlib.sha256)).rstrip(b"=").decode()
    unsigned = f"{part({'alg': 'none', 'kid': 'RS256'})}.{part(house.claims())}."
    for token in (f"{signed}.{mac}", unsigned, f"{unsigned}AA", "a.b.c", ""):
        with pytest.raises(Unauthenticated):
            house.oidc.authenticate(token)


async def test_symmetric_keys_of_a_provider_are_not_taken():
    house = House()
    secret = base64.urlsafe_b64encode(b"s" * 32).rstrip(b"=").decode()
    house.keys = [{"kty": "oct", "kid": "h", "k": secret, "alg": "HS256"}, {"kty": "RSA", "kid": "bad"}, 7]
    await house.oidc.look()
    with pytest.raises(Unauthenticated):
        house.oidc.authenticate(jwt.encode(house.claims(), b"s" * 32, "HS256", headers={"kid": "h"}))


def test_a_token_ends_by_our_clock(house):
    token = house.token()
    house.clock.advance_ms((300 + LEEWAY_S) * 1000 - 1)
    assert house.oidc.authenticate(token)
    house.clock.advance_ms(1000)
    with pytest.raises(Unauthenticated, match="expired"):
        house.oidc.authenticate(token)


async def test_an_unknown_key_is_asked_for_soon_but_not_often(house):
    house.keys = [card("new", OTHER, "ES256")]
    token = house.token(key=OTHER, kid="new")
    for _ in range(3):
        with pytest.raises(Unauthenticated):
            house.oidc.authenticate(token)
        await house.oidc.look()
    assert len(house.asked) == 2
    house.clock.advance_ms(10_000)
    await house.oidc.look()
    assert house.oidc.authenticate(token).key_id == "oidc:ann"
    house.clock.advance_ms(20_000)
    await house.oidc.look()
    assert len(house.asked) == 4


async def test_where_the_provider_is_silent_its_keys_hold_for_a_day(house):
    house.down = CallerError("no answer")
    house.clock.advance_ms(int(REFRESH_S) * 1000)
    await house.oidc.look()
    assert house.oidc.authenticate(house.token())
    house.clock.advance_ms(STALE_NS // 1_000_000)
    with pytest.raises(KeysUnavailable):
        house.oidc.authenticate(house.token())


@pytest.mark.parametrize("change", [{"issuer": "https://evil.example"}, {"jwks": "http://id.example/keys"}])
async def test_a_document_that_is_not_the_issuers_is_not_believed(change, caplog):
    house = House()
    vars(house).update(change)
    await house.oidc.look()
    with pytest.raises(KeysUnavailable):
        house.oidc.authenticate(house.token())
    assert "cannot be read" in caplog.text


def test_a_strange_subject_is_hashed_for_the_log(house):
    odd = house.oidc.authenticate(house.token(sub='a"b\n')).key_id
    assert odd.startswith("oidc:")
    assert len(odd) == 37


def test_forms():
    assert is_token("a.b.c")
    assert not is_token("ant_00000000_abc")
    assert not is_token("a.b." + "c" * 20_000)
    assert is_safe("https://a")
    assert is_safe("http://127.0.0.1:80/x")
    assert not is_safe("http://127.0.0.1.evil.example/")
    assert not is_safe("http://localhost:x@evil.example/keys")
