"""Signature Version 4 (docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html).

A signature has a scope, `DATE/REGION/SERVICE/aws4_request`, and each part of it makes a new key of the one before.
"""

import hmac
from collections.abc import Sequence

ALGORITHM = "AWS4-HMAC-SHA256"
SCOPE_PARTS = 4
TERMINATION = b"aws4_request"


def signing_key(secret: str, scope: Sequence[bytes]) -> bytes:
    """Return the signing key for that scope."""
    key = b"AWS4" + secret.encode()
    for part in scope:
        key = hmac.digest(key, part, "sha256")
    return key
