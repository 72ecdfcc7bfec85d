"""Objects put into a bucket of S3 or of what speaks its protocol, signed by Signature Version 4. Pure: time is an
argument.
"""

import hashlib
import hmac
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import quote, urlsplit

from antiphon.core.signing import ALGORITHM, TERMINATION, signing_key


@dataclass(frozen=True, slots=True)
class Bucket:
    """A bucket at a URL, `https://HOST/BUCKET/PREFIX` or `https://BUCKET.HOST/PREFIX`, and the key that may write
    it.
    """

    url: str
    region: str
    key_id: str
    secret: str = field(repr=False)

    def put(self, name: str, body: bytes, media_type: str, at_unix_s: int) -> tuple[str, dict[str, str]]:
        """Return the URL and the headers of a request that puts an object, and never over another one where the bucket
        knows of that condition.
        """
        parts = urlsplit(self.url)
        path = quote(f"{parts.path.rstrip('/')}/{name}", safe="/-_.~")
        time = datetime.fromtimestamp(at_unix_s, UTC).strftime("%Y%m%dT%H%M%SZ")
        digest = hashlib.sha256(body).hexdigest()
        signed = {
            "content-type": media_type,
            "host": parts.netloc,
            "if-none-match": "*",
            "x-amz-content-sha256": digest,
            "x-amz-date": time,
        }
        names = ";".join(signed)
        lines = "".join(f"{name}:{value}\n" for name, value in signed.items())
        request = f"PUT\n{path}\n\n{lines}\n{names}\n{digest}"
        scope = (time[:8].encode(), self.region.encode(), b"s3", TERMINATION)
        message = f"{ALGORITHM}\n{time}\n{b'/'.join(scope).decode()}\n{hashlib.sha256(request.encode()).hexdigest()}"
        signature = hmac.digest(signing_key(self.secret, scope), message.encode(), "sha256").hex()
        credential = f"{self.key_id}/{b'/'.join(scope).decode()}"
        headers = {name: value for name, value in signed.items() if name != "host"}
        headers["authorization"] = f"{ALGORITHM} Credential={credential}, SignedHeaders={names}, Signature={signature}"
        return f"{parts.scheme}://{parts.netloc}{path}", headers
