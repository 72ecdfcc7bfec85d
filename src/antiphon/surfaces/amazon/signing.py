"""Signature Version 4 of the opening and of each event.

The secret access key is an API key, and so is the session token, which names the same key: the server stores only
hashes of keys, and learns the secret from the token. Without a token the secret is that of a pair, whose id is the
access key id. A signed opening is valid for five minutes around its time, a presigned URL until it expires. Each event
is signed over the preceding signature, the first over that of the opening, so that no event can be left out, inserted,
changed or moved.
"""

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

from antiphon.core.errors import InvalidSignature
from antiphon.core.signing import ALGORITHM, SCOPE_PARTS, TERMINATION, signing_key
from antiphon.core.wire import Opening, Signed
from antiphon.surfaces.amazon import events

EVENT_ALGORITHM = f"{ALGORITHM}-PAYLOAD"
SERVICE = "transcribe"
MAX_SKEW_MS = 300_000
MAX_EXPIRES_S = 300
OPTION_PREFIX = "x-amzn-transcribe-"
DATE_HEADER, SIGNATURE_HEADER = ":date", ":chunk-signature"

_TOKEN = "x-amz-security-token"
_NOTHING = hashlib.sha256(b"").hexdigest()
_DATE = re.compile(r"\d{8}T\d{6}Z", re.ASCII)
_HEX = re.compile(r"[0-9a-f]{64}")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Parts:
    """The caller's statements about the signature of an opening. `expires_ms` is the validity of a presigned URL."""

    scope: str
    date: str
    names: tuple[str, ...]
    signature: str
    token: str
    payload: str = _NOTHING
    expires_ms: int | None = None
    access_key: str = ""


def is_signed(opening: Opening) -> bool:
    """Return whether the opening has a signature."""
    presigned = any(name == "X-Amz-Algorithm" for name, _ in opening.query)
    return presigned or opening.headers.get("authorization", "").startswith(ALGORITHM)


def credential(opening: Opening) -> Signed | None:
    """Return the signature, with the text that it must sign; `None` if there is none. Raises `InvalidSignature`."""
    if not is_signed(opening):
        return None
    parts = read(opening)
    _check_time(parts, opening.received_unix_ms)
    signed = "\n".join((ALGORITHM, parts.date, parts.scope, _sha256(_canonical(opening, parts).encode())))
    return Signed(ALGORITHM, parts.access_key, signed.encode(), bytes.fromhex(parts.signature), secret=parts.token)


def read(opening: Opening) -> Parts:
    """Return the parts of the signature. Raises `InvalidSignature` if one is invalid, or a required header is not
    signed.
    """
    query = dict(opening.query)
    parts = _of_query(query) if "X-Amz-Algorithm" in query else _of_headers(opening.headers)
    access_key, _, scope = parts.scope.partition("/")
    fields = scope.split("/")
    well_formed = (
        access_key
        and len(fields) == SCOPE_PARTS
        and fields[2:] == [SERVICE, TERMINATION.decode()]
        and _DATE.fullmatch(parts.date)
        and parts.date.startswith(fields[0])
        and _HEX.fullmatch(parts.signature)
    )
    if not well_formed:
        raise InvalidSignature("The signature, its date or its scope is not of the form of Signature Version 4.")
    must = [name for name in opening.headers if name.startswith(OPTION_PREFIX)]
    if parts.expires_ms is None:
        must.append("x-amz-date")
    if not {"host", ":authority"} & set(parts.names) or not set(must) <= set(parts.names):
        raise InvalidSignature("The signature must cover the host, the date and every option.")
    return replace(parts, scope=scope, access_key=access_key)


def region(parts: Parts) -> str:
    return parts.scope.split("/")[1]


def _of_headers(headers: Mapping[str, str]) -> Parts:
    fields = dict(
        field.strip().partition("=")[::2]
        for field in headers.get("authorization", "").removeprefix(ALGORITHM).split(",")
    )
    return Parts(
        fields.get("Credential", ""),
        headers.get("x-amz-date", ""),
        tuple(fields.get("SignedHeaders", "").split(";")),
        fields.get("Signature", ""),
        headers.get(_TOKEN, ""),
        headers.get("x-amz-content-sha256", _NOTHING),
    )


def _of_query(query: Mapping[str, str]) -> Parts:
    expires = query.get("X-Amz-Expires", "")
    if not (expires.isascii() and expires.isdigit() and len(expires) < 10 and 1 <= int(expires) <= MAX_EXPIRES_S):
        raise InvalidSignature(f"X-Amz-Expires must be 1 to {MAX_EXPIRES_S} seconds.")
    if query["X-Amz-Algorithm"] != ALGORITHM:
        raise InvalidSignature(f"X-Amz-Algorithm must be {ALGORITHM}.")
    return Parts(
        query.get("X-Amz-Credential", ""),
        query.get("X-Amz-Date", ""),
        tuple(query.get("X-Amz-SignedHeaders", "").split(";")),
        query.get("X-Amz-Signature", ""),
        query.get("X-Amz-Security-Token", ""),
        expires_ms=int(expires) * 1000,
    )


def _check_time(parts: Parts, now_ms: int) -> None:
    signed_ms = _unix_ms(parts.date)
    last_ms = signed_ms + (MAX_SKEW_MS if parts.expires_ms is None else parts.expires_ms)
    if now_ms > last_ms:
        raise InvalidSignature(f"Signature expired: {parts.date} is too long before {_shown(now_ms)}.")
    if signed_ms > now_ms + MAX_SKEW_MS:
        raise InvalidSignature(f"Signature not yet current: {parts.date} is too long after {_shown(now_ms)}.")


def _canonical(opening: Opening, parts: Parts) -> str:
    """Return the canonical request, which both sides compute alike."""
    query = sorted((_quoted(name), _quoted(value)) for name, value in opening.query if name != "X-Amz-Signature")
    headers = (f"{name}:{_header(opening.headers, name)}\n" for name in parts.names)
    return "\n".join(
        (
            opening.method,
            quote(opening.path, safe="/-_.~"),
            "&".join(f"{name}={value}" for name, value in query),
            "".join(headers),
            ";".join(parts.names),
            parts.payload,
        )
    )


def _header(headers: Mapping[str, str], name: str) -> str:
    """Return a header's value. Node signs HTTP/2's pseudo-header `:authority` in place of `host`."""
    return " ".join(headers.get("host" if name == ":authority" else name, "").split())


def _quoted(text: str) -> str:
    return quote(text, safe="-_.~")


class EventSignatures:
    """The signatures of a stream's events, in order. The signing key is that of the day of each event."""

    def __init__(self, opening: Opening) -> None:
        parts = read(opening)
        self._secret = opening.signed_with
        self._region = region(parts)
        self._before = parts.signature
        self._day = ""
        self._key = b""

    def verify(self, frame: events.Frame, now_ms: int) -> None:
        """Raise `InvalidSignature` if an event is not the next one, exactly as its sender signed it."""
        sent_ms, signature = frame.headers.get(DATE_HEADER), frame.headers.get(SIGNATURE_HEADER)
        if type(sent_ms) is not int or not isinstance(signature, bytes):
            raise InvalidSignature("An event has no signature.")
        if abs(sent_ms - now_ms) > MAX_SKEW_MS:
            raise InvalidSignature(
                f"An event was not signed within {MAX_SKEW_MS // 60_000} minutes of {_shown(now_ms)}."
            )
        date = _shown(sent_ms)
        scope = f"{date[:8]}/{self._region}/{SERVICE}/{TERMINATION.decode()}"
        if date[:8] != self._day:
            self._day, self._key = date[:8], signing_key(self._secret, [part.encode() for part in scope.split("/")])
        header = events.timestamp(DATE_HEADER, sent_ms)
        signed = "\n".join((EVENT_ALGORITHM, date, scope, self._before, _sha256(header), _sha256(frame.payload)))
        if not hmac.compare_digest(hmac.digest(self._key, signed.encode(), "sha256"), signature):
            raise InvalidSignature("An event's signature is not valid: it was changed, moved, or sent again.")
        self._before = signature.hex()


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _unix_ms(date: str) -> int:
    """Return Unix milliseconds. Raises `InvalidSignature`."""
    try:
        parsed = datetime.strptime(date, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        raise InvalidSignature("The date of the signature is not one.") from None
    return int(parsed.timestamp()) * 1000


def _shown(unix_ms: int) -> str:
    return (_EPOCH + timedelta(milliseconds=unix_ms)).strftime("%Y%m%dT%H%M%SZ")
