"""Pictures in messages: which kinds there are, and `data:` URLs of them. Nothing here decodes a picture."""

import re
from base64 import b64decode, b64encode

_KINDS = (  # by the first bytes of a file
    ("png", re.compile(rb"\x89PNG\r\n\x1a\n")),
    ("jpeg", re.compile(rb"\xff\xd8\xff")),
    ("gif", re.compile(rb"GIF8[79]a")),
    ("webp", re.compile(rb"RIFF.{4}WEBP", re.DOTALL)),
)
_HEAD_BYTES = 12  # enough to identify the kind
_HEAD_CHARS = _HEAD_BYTES // 3 * 4
_DATA = re.compile(r"data:image/[a-z0-9.+-]+;base64,", re.IGNORECASE)
# With a length that is a multiple of four. A pattern of groups of four would hold all other threads for seconds.
_BASE64 = re.compile(r"[A-Za-z0-9+/]*+={0,2}")
KINDS = "PNG, JPEG, WebP or GIF"


def is_data(url: str) -> bool:
    """Return whether the URL is a `data:` URL, which holds its content."""
    return url[:5].lower() == "data:"


def from_bytes(data: bytes) -> str:
    """Return the `data:` URL of a picture. Raises `ValueError` if its kind is unknown."""
    return f"data:image/{_kind(data)};base64,{b64encode(data).decode()}"


def check_picture(url: str) -> str:
    """Return a `data:` URL with the kind found in its data. Raises `ValueError` if that is unknown, or it is not
    base64.
    """
    head = _DATA.match(url)
    if head is None or (len(url) - head.end()) % 4 or not _BASE64.fullmatch(url, head.end()):
        raise ValueError("no picture in base64")
    kind = _kind(b64decode(url[head.end() : head.end() + _HEAD_CHARS]))
    return f"data:image/{kind};base64,{url[head.end() :]}"


def _kind(data: bytes) -> str:
    for kind, magic in _KINDS:
        if magic.match(data):
            return kind
    raise ValueError("no picture of a known kind")
