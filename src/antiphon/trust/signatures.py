"""Signatures over a request, in place of a secret that is sent: whether one was made with the key's own secret.

What is signed is the surface's to put together from the request as it came, and how old it may be is the surface's to
say. Signature Version 4 (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html):
the third line of what is signed is `DATE/REGION/SERVICE/aws4_request`, and each of these makes a new secret of the one
before it.
"""

import hmac
from collections.abc import Callable, Mapping

from antiphon.core.wire import Signed

SIGNATURE_VERSION_4 = "AWS4-HMAC-SHA256"

_PARTS = 4


def holds(credential: Signed, secret: str) -> bool:
    """Whether it was made with that secret; not where the scheme is unknown."""
    sign = _SCHEMES.get(credential.scheme)
    expected = sign(secret, credential.signed) if sign else None
    return expected is not None and hmac.compare_digest(expected, credential.signature)


def _version_4(secret: str, signed: bytes) -> bytes | None:
    lines = signed.split(b"\n")
    parts = lines[2].split(b"/") if len(lines) > 2 else []
    if len(parts) != _PARTS or parts[-1] != b"aws4_request":
        return None
    key = b"AWS4" + secret.encode()
    for part in (*parts, signed):
        key = hmac.digest(key, part, "sha256")
    return key


_SCHEMES: Mapping[str, Callable[[str, bytes], bytes | None]] = {SIGNATURE_VERSION_4: _version_4}
