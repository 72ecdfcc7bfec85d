"""Labels: the ledger's form of a caller's tags. Entries are never deleted, so by default it has only hashes.

A tag is text, or `name=value`. A name of one word stays readable; the rest becomes an HMAC-SHA256 by a random key of
the project. With the tag and the key a label can be found again; once the key is destroyed, it cannot.
"""

import hmac
import re
from collections.abc import Iterable

from antiphon.core.policy import TagPolicy
from antiphon.core.tags import without_subject

HASH_DIGITS = 16

_NAMED = re.compile(r"([A-Za-z0-9_.-]{1,64}=).*", re.DOTALL)


def labels_of(tags: Iterable[str], policy: TagPolicy, key: bytes | None) -> tuple[str, ...]:
    """Return the labels of tags, without the subject. Without a key, tags to be hashed are dropped."""
    kept = without_subject(tags)
    if policy is TagPolicy.PLAIN:
        return kept
    if policy is TagPolicy.NONE or key is None:
        return ()
    return tuple(hash_tag(tag, key) for tag in kept)


def forms_of(tag: str, key: bytes | None) -> tuple[str, ...]:
    """Return every label that a tag may have, whatever the policy was when it was written."""
    return (tag,) if key is None else (tag, hash_tag(tag, key))


def hash_tag(tag: str, key: bytes) -> str:
    named = _NAMED.fullmatch(tag)
    digest = hmac.digest(key, tag.encode("utf-8", "surrogatepass"), "sha256").hex()
    return f"{named[1] if named else ''}{digest[:HASH_DIGITS]}"
