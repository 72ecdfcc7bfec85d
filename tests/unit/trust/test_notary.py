"""Checkpoints are signed where the log continues, and taken outside: to a file, a webhook, and the example witness."""

import importlib.util
import logging
import sys
import threading
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from ipaddress import ip_network
from pathlib import Path

import pytest
from awscrt.auth import (
    AwsCredentialsProvider,
    AwsSignedBodyHeaderType,
    AwsSigningAlgorithm,
    AwsSigningConfig,
    aws_sign_request,
)
from awscrt.http import HttpHeaders, HttpRequest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from antiphon.core.audit import Action, AuditRecord, Outcome
from antiphon.core.errors import CallerError, InternalError
from antiphon.testing import FakeClock, FakeLedger
from antiphon.trust.bucket import Bucket
from antiphon.trust.checkpoint import COSIGNATURE, Signer, Verifier
from antiphon.trust.fetch import Answer, Fetcher, FetchLimits
from antiphon.trust.notary import Notary, Outside, read_last
from antiphon.trust.verifying import parse_all

EXAMPLES = Path(__file__).parents[3] / "examples"
SIGNER = Signer("antiphon/a", Ed25519PrivateKey.from_private_bytes(bytes(32)))
HOOK = "https://hook.example/"


def grow(ledger, count):
    for number in range(count):
        ledger.record(AuditRecord(number, Action.ACCESS, Outcome.ALLOWED, f"k{number}"))


class Hook:
    """What sends nowhere: the notes it was given, and how it answers."""

    def __init__(self):
        self.notes = []
        self.puts = []
        self.status = 200
        self.error = None

    async def post(self, url, body, headers):
        if self.error:
            raise self.error
        self.notes.append((url, body.decode()))
        return self.status

    async def put(self, url, body, headers):
        self.puts.append((url, body, headers))
        return await self.post(url, body, headers)

    async def exchange(self, url, body, headers, max_bytes):
        return Answer(500, "text/plain", b"")


@pytest.fixture
def ledger():
    return FakeLedger()


def notary_of(ledger, tmp_path, posts=None, **outside):
    return Notary(ledger, SIGNER, tmp_path, Outside(**outside), posts or Hook(), FakeClock())


async def test_what_is_new_is_signed_once(ledger, tmp_path):
    notary = notary_of(ledger, tmp_path)
    assert await notary.sign() is None
    grow(ledger, 5)
    first = await notary.sign()
    assert (first.size, first.origin, SIGNER.verifier.holds(first)) == (5, "antiphon/a", True)
    assert await notary.sign() is None
    grow(ledger, 3)
    assert (await notary.sign()).size == 8
    assert read_last(tmp_path).size == 8
    again = notary_of(ledger, tmp_path)
    assert await again.sign() is None


@pytest.mark.parametrize("change", [lambda old: old[:4], lambda old: [bytes(32), *old[1:]], lambda old: []])
async def test_a_log_that_does_not_continue_is_not_signed(ledger, tmp_path, change, caplog):
    notary = notary_of(ledger, tmp_path)
    grow(ledger, 5)
    await notary.sign()
    ledger._leaves = change(ledger._leaves)
    ledger.records = ledger.records[: len(ledger._leaves)]
    with pytest.raises(InternalError, match="does not continue"):
        await notary.sign()
    await notary.look()
    assert "no checkpoint" in caplog.text
    assert read_last(tmp_path).size == 5


async def test_checkpoints_go_to_a_file_and_to_a_webhook(ledger, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    hook = Hook()
    notary = notary_of(ledger, tmp_path, hook, file=tmp_path / "kept", webhook=HOOK)
    for _ in range(3):
        grow(ledger, 2)
        await notary.sign()
    kept = parse_all((tmp_path / "kept").read_text())
    assert [each.size for each in kept] == [2, 4, 6]
    assert hook.notes == [(HOOK, each.note()) for each in kept]
    assert sum(record.message == "checkpoint of the audit log" for record in caplog.records) == 3


def test_a_put_is_signed_as_aws_own_signer_does_it():
    bucket = Bucket("https://s3.eu-de.example/worm/audit log/", "eu-de", "AKID", "s3cret")
    url, headers = bucket.put("7.checkpoint", b"note", "text/plain; charset=utf-8", 1_796_005_794)
    assert url == "https://s3.eu-de.example/worm/audit%20log/7.checkpoint"
    signed = [
        ("host", "s3.eu-de.example"),
        *((n, v) for n, v in headers.items() if n in ("content-type", "if-none-match")),
    ]
    request = HttpRequest("PUT", "/worm/audit%20log/7.checkpoint", HttpHeaders(signed))
    config = AwsSigningConfig(
        algorithm=AwsSigningAlgorithm.V4,
        credentials_provider=AwsCredentialsProvider.new_static("AKID", "s3cret"),
        region="eu-de",
        service="s3",
        date=datetime.fromtimestamp(1_796_005_794, UTC),
        use_double_uri_encode=False,
        should_normalize_uri_path=False,
        signed_body_value=headers["x-amz-content-sha256"],
        signed_body_header_type=AwsSignedBodyHeaderType.X_AMZ_CONTENT_SHA_256,
    )
    theirs = dict(aws_sign_request(request, config).result(10).headers)
    assert headers["authorization"] == theirs["Authorization"]
    assert headers["x-amz-date"] == theirs["X-Amz-Date"]
    assert "s3cret" not in repr(bucket)


async def test_a_checkpoint_is_put_as_it_was_signed(ledger, tmp_path):
    got = []

    class Store(BaseHTTPRequestHandler):
        def do_PUT(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            got.append((self.path, body, self.headers["host"], self.headers["if-none-match"]))
            self.send_response(200)
            self.end_headers()

    server = HTTPServer(("127.0.0.1", 0), Store)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    host = f"127.0.0.1:{server.server_port}"
    posts = Fetcher(FetchLimits(total_s=5), allow_private=(ip_network("127.0.0.0/8"),))
    try:
        notary = notary_of(ledger, tmp_path, posts, bucket=Bucket(f"http://{host}/worm", "r", "AKID", "s3cret"))
        grow(ledger, 2)
        await notary.sign()
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    ((path, body, to, condition),) = got
    assert path.startswith("/worm/000000000002-")
    assert (body, to, condition) == (notary.last.note().encode(), host, "*")


async def test_checkpoints_go_to_a_bucket_and_its_failure_is_told(ledger, tmp_path, caplog):
    hook = Hook()
    notary = notary_of(ledger, tmp_path, hook, bucket=Bucket("https://s3.example/worm", "r", "AKID", "s3cret"))
    for _ in range(2):
        grow(ledger, 2)
        await notary.sign()
    assert [url.rpartition("/")[2].partition("-")[0] for url, _, _ in hook.puts] == ["000000000002", "000000000004"]
    assert hook.puts[-1][1] == notary.last.note().encode()
    grow(ledger, 1)
    hook.status = 412  # there is an object with this name
    await notary.sign()
    assert caplog.records[-1].message == "a checkpoint was not taken by its bucket"


async def test_what_does_not_take_them_keeps_nothing_up(ledger, tmp_path, caplog):
    hook = Hook()
    witness = Verifier("w", COSIGNATURE, bytes(32))
    notary = notary_of(ledger, tmp_path, hook, file=tmp_path, webhook=HOOK, witnesses=(("https://w.example", witness),))
    for hook.status, hook.error in ((500, None), (200, CallerError("no"))):
        grow(ledger, 1)
        assert len((await notary.sign()).signatures) == 1
    assert [record.message for record in caplog.records] == [
        "a witness did not sign a checkpoint",
        "a checkpoint cannot be written to its file",
        "a checkpoint was not taken by its webhook",
    ] * 2


def test_a_checkpoint_that_cannot_be_read_is_an_error(tmp_path):
    (tmp_path / "audit-checkpoint").write_text("nothing")
    with pytest.raises(InternalError, match="audit-checkpoint"):
        read_last(tmp_path)


# -- with the example witness, over a real socket ----------------------------------------------------------------------


@pytest.fixture
def witness(tmp_path, monkeypatch):
    """Where it serves, its class, its key."""
    monkeypatch.setattr(sys, "path", [str(EXAMPLES), *sys.path])  # `syspath_prepend` needs all of pkg_resources
    monkeypatch.delitem(sys.modules, "verify_audit", raising=False)
    spec = importlib.util.spec_from_file_location("audit_witness", EXAMPLES / "audit_witness.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    private = Ed25519PrivateKey.from_private_bytes(bytes(31) + b"w")
    mine = Verifier("witness.example/w", COSIGNATURE, private.public_key().public_bytes_raw())
    state = tmp_path / "witness"
    state.mkdir()
    fields = {"folder": state, "name": mine.name, "private": private, "id": mine.key_id, "log_message": lambda *_: None}
    served = type("Served", (module.Witness,), fields | {"logs": {"antiphon/a": module.Key(str(SIGNER.verifier))}})
    server = HTTPServer(("127.0.0.1", 0), served)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", served, mine
    server.shutdown()
    server.server_close()


@pytest.fixture
def fetcher():
    return Fetcher(FetchLimits(total_s=10), allow_private=(ip_network("127.0.0.0/8"),))


async def test_a_witness_signs_what_continues(ledger, tmp_path, witness, fetcher, caplog):
    url, _, key = witness
    notary = notary_of(ledger, tmp_path, fetcher, witnesses=((url, key),))
    for count in (1, 4, 8, 20):
        grow(ledger, count)
        signed = await notary.sign()
        assert key.holds(signed)
        assert SIGNER.verifier.holds(signed)
    assert key.holds(read_last(tmp_path))
    again = notary_of(ledger, tmp_path, fetcher, witnesses=((url, key),))  # which does not know how far it had come
    grow(ledger, 1)
    assert key.holds(await again.sign())
    assert caplog.text == ""


async def test_a_witness_does_not_sign_another_history(ledger, tmp_path, witness, fetcher, caplog):
    url, served, key = witness
    notary = notary_of(ledger, tmp_path, fetcher, witnesses=((url, key),))
    grow(ledger, 9)
    await notary.sign()
    forked = FakeLedger()
    grow(forked, 4)
    forked.record(AuditRecord(1, Action.ACCESS, Outcome.REFUSED))
    grow(forked, 6)
    other = notary_of(forked, tmp_path, fetcher, witnesses=((url, key),))
    other.last = None  # who has the server can do so
    signed = await other.sign()
    assert not key.holds(signed)
    assert "status 422" in caplog.records[-1].reason
    cut = FakeLedger()
    grow(cut, 3)
    other = notary_of(cut, tmp_path, fetcher, witnesses=((url, key),))
    other.last = None
    assert not key.holds(await other.sign())
    assert "size that the log has not" in caplog.records[-1].reason
    for logs, status in (({}, 404), ({"antiphon/a": type(next(iter(served.logs.values())))(str(key))}, 403)):
        served.logs = logs
        grow(ledger, 1)
        assert not key.holds(await notary.sign())
        assert f"status {status}" in caplog.records[-1].reason
