"""The verification of an audit log: every record has its stored hash, the tree is that of the records, and every known
checkpoint is of a beginning of the log.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from antiphon.core.errors import InternalError
from antiphon.core.merkle import Edge, leaf_hash
from antiphon.core.stores import MAX_READ, Trail
from antiphon.trust import checkpoint as notes
from antiphon.trust.checkpoint import Checkpoint, Verifier


class Tampered(InternalError):
    """The log was changed."""

    code = "tampered"


@dataclass(frozen=True, slots=True)
class Verified:
    """The result: the number of records, and how many of the first ones have no content any more."""

    size: int
    dropped: int


async def verify(trail: Trail, checkpoints: Sequence[Checkpoint], key: Verifier) -> Verified:
    """Read and check the whole log. Raises `Tampered` if it was changed, `InternalError` if it cannot be read."""
    roots: dict[int, bytes] = {}
    for signed in checkpoints:
        if not key.holds(signed):
            raise Tampered(f"the checkpoint at {signed.size} records is not signed by {key.name}")
        if roots.setdefault(signed.size, signed.root) != signed.root:
            raise Tampered(f"there are two signed checkpoints at {signed.size} records: the log was forked")
    edge, dropped = Edge(), 0
    _check(edge, roots)
    while page := await trail.logged(edge.size):
        for each in page:
            if each.number != edge.size:
                raise Tampered(f"record {edge.size} is missing")
            if each.body is None:
                if dropped != each.number:
                    raise Tampered(f"what record {each.number} says was dropped before its time")
                dropped += 1
            elif leaf_hash(each.body) != each.leaf:
                raise Tampered(f"record {each.number} was changed")
            if each.hashes != b"".join(edge.add(each.leaf)):
                raise Tampered(f"the hashes stored with record {each.number} are not those of the tree")
            _check(edge, roots)
        if len(page) < MAX_READ:
            break
    if roots and max(roots) > edge.size:
        raise Tampered(f"the log was cut or put back: {edge.size} records, and a checkpoint at {max(roots)}")
    return Verified(edge.size, dropped)


def parse_all(text: str) -> list[Checkpoint]:
    """Parse all checkpoints of a file to which they were appended. Raises `ValueError`."""
    found = []
    while text := text.lstrip("\n"):
        body, _, rest = text.partition("\n\n")
        lines = rest.split("\n")
        count = next((at for at, line in enumerate(lines) if not line.startswith("\u2014 ")), len(lines))
        found.append(notes.parse("\n".join((body, "", *lines[:count], ""))))
        text = "\n".join(lines[count:])
    return found


def _check(edge: Edge, roots: dict[int, bytes]) -> None:
    if edge.size in roots and roots[edge.size] != edge.root:
        raise Tampered(f"the first {edge.size} records are not those that were signed for")
