"""A caller of Amazon's protocols, who signs by hand: what AWS's documentation says, without any of our code."""

import binascii
import hashlib
import hmac
import struct
from dataclasses import replace
from datetime import UTC, datetime
from urllib.parse import quote

from antiphon.core.wire import Opening

KEY = "ant_secret"
UNIX_MS = 1_724_974_675_202
REGION = "eu-west-1"
REQUEST_ID = "8c8ebea9-dbec-45fa-a035-e4632cb05b5f"
OPTIONS = {"language-code": "en-US", "sample-rate": "16000", "media-encoding": "pcm"}
EMPTY = hashlib.sha256(b"").hexdigest()


def date(unix_ms=UNIX_MS):
    return datetime.fromtimestamp(unix_ms // 1000, UTC).strftime("%Y%m%dT%H%M%SZ")


def key_of(day, secret=KEY, region=REGION):
    key = b"AWS4" + secret.encode()
    for part in (day, region, "transcribe", "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return key


def _signature(method, path, query, headers, at, payload=EMPTY, secret=KEY):
    canonical_headers = "".join(f"{name}:{value.strip()}\n" for name, value in sorted(headers.items()))
    names = ";".join(sorted(headers))
    canonical = "\n".join((method, path, query, canonical_headers, names, payload))
    scope = f"{at[:8]}/{REGION}/transcribe/aws4_request"
    signed = "\n".join(("AWS4-HMAC-SHA256", at, scope, hashlib.sha256(canonical.encode()).hexdigest()))
    return hmac.new(key_of(at[:8], secret), signed.encode(), hashlib.sha256).hexdigest(), scope, names


def posted(
    options=OPTIONS, *, at_ms=UNIX_MS, received_ms=UNIX_MS, secret=KEY, token=KEY, host="host", more=(), key="me"
):
    """An opening over HTTP/2, as Node signs it where `host` is the pseudo-header."""
    headers = {host: "127.0.0.1:8443", "x-amz-date": date(at_ms), **dict(more)}
    headers |= {f"x-amzn-transcribe-{name}": value for name, value in options.items()}
    if token:
        headers["x-amz-security-token"] = token
    payload = headers.get("x-amz-content-sha256", EMPTY)
    signature, scope, names = _signature("POST", "/stream-transcription", "", headers, date(at_ms), payload, secret)
    headers["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={key}/{scope}, SignedHeaders={names}, Signature={signature}"
    )
    headers["host"] = headers.pop(host)
    opening = Opening("POST", "/stream-transcription", (), headers, (), REQUEST_ID, received_ms)
    return replace(opening, signed_with=secret)


def presigned(options=OPTIONS, *, at_ms=UNIX_MS, received_ms=UNIX_MS, secret=KEY, token=KEY, expires="60", key="me"):
    """An opening of a WebSocket by a presigned URL."""
    path = "/stream-transcription-websocket"
    query = {
        **options,
        "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
        "X-Amz-Credential": f"{key}/{date(at_ms)[:8]}/{REGION}/transcribe/aws4_request",
        "X-Amz-Date": date(at_ms),
        "X-Amz-Expires": expires,
        "X-Amz-SignedHeaders": "host",
    }
    if token:
        query["X-Amz-Security-Token"] = token
    text = "&".join(f"{quote(n, safe='-_.~')}={quote(v, safe='-_.~')}" for n, v in sorted(query.items()))
    signature, _, _ = _signature("GET", path, text, {"host": "127.0.0.1:8443"}, date(at_ms), secret=secret)
    query["X-Amz-Signature"] = signature
    opening = Opening("GET", path, tuple(query.items()), {"host": "127.0.0.1:8443"}, (), REQUEST_ID, received_ms)
    return replace(opening, signed_with=secret)


def frame(headers, payload=b""):
    """Of encoded headers."""
    prelude = struct.pack(">II", 16 + len(headers) + len(payload), len(headers))
    start = prelude + struct.pack(">I", binascii.crc32(prelude)) + headers + payload
    return start + struct.pack(">I", binascii.crc32(start))


def text(name, value):
    return struct.pack(f">B{len(name)}sBH", len(name), name.encode(), 7, len(value)) + value.encode()


def audio(data, kind="AudioEvent"):
    said = text(":message-type", "event") + text(":event-type", kind)
    return frame(said + text(":content-type", "application/octet-stream"), data)


class Signer:
    """The events of one stream, each signed over the one before."""

    def __init__(self, opening, secret=KEY):
        given = opening.headers.get("authorization") or dict(opening.query)["X-Amz-Signature"]
        self.before = given.rpartition("=")[2]
        self.secret = secret

    def event(self, payload, at_ms=UNIX_MS):
        header = struct.pack(">B5sBq", 5, b":date", 8, at_ms)
        at = date(at_ms)
        scope = f"{at[:8]}/{REGION}/transcribe/aws4_request"
        hashes = hashlib.sha256(header).hexdigest(), hashlib.sha256(payload).hexdigest()
        signed = "\n".join(("AWS4-HMAC-SHA256-PAYLOAD", at, scope, self.before, *hashes))
        signature = hmac.new(key_of(at[:8], self.secret), signed.encode(), hashlib.sha256).digest()
        self.before = signature.hex()
        return frame(header + struct.pack(">B16sBH", 16, b":chunk-signature", 6, 32) + signature, payload)
