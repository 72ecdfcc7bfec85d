"""Merkle trees with the hashes of RFC 6962: 32 bytes that identify a log of many records, and short proofs about it.

A tree is read by the hashes of its complete subtrees, which never change once they exist. They are stored with the leaf
that completes them: first its own, then those of larger and larger subtrees. `place` returns where each one is, so a
proof needs as many reads as the logarithm of the tree's size.
"""

import hashlib
from collections.abc import Iterable, Sequence

EMPTY = hashlib.sha256().digest()  # the root of a tree without leaves (2.1)
HASH_BYTES = 32

Range = tuple[int, int]  # of leaves: the first, and the one after the last
Place = tuple[int, int]  # of a hash: the leaf that completes its subtree, and the number of levels above the leaves


def leaf_hash(data: bytes) -> bytes:
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def place(level: int, number: int) -> Place:
    """Return the place of the hash of the complete subtree of `1 << level` leaves that begins at the leaf
    `number << level`.
    """
    return ((number + 1) << level) - 1, level


class Edge:
    """A tree's right edge: all that is needed to add leaves. `roots` are those of its complete subtrees,
    from the left.
    """

    def __init__(self, size: int = 0, roots: Sequence[bytes] = ()) -> None:
        self.size = size
        self.roots = list(roots)

    def copy(self) -> "Edge":
        return Edge(self.size, self.roots)

    def add(self, leaf: bytes) -> list[bytes]:
        """Add a leaf; return the hashes to store with it, in order."""
        made = [leaf]
        completes = self.size
        while completes & 1:
            made.append(node_hash(self.roots.pop(), made[-1]))
            completes >>= 1
        self.roots.append(made[-1])
        self.size += 1
        return made

    @property
    def root(self) -> bytes:
        return fold(self.roots)


def fold(roots: Sequence[bytes]) -> bytes:
    """Return the hash of neighbouring complete subtrees, from the left, each smaller than the one before."""
    if not roots:
        return EMPTY
    *others, hashed = roots
    for root in reversed(others):
        hashed = node_hash(root, hashed)
    return hashed


def subtrees(leaves: Range) -> list[Place]:
    """Return the places of the complete subtrees of a range. It must begin at a multiple of the size of the largest
    one, as all ranges of proofs do.
    """
    at, end = leaves
    places = []
    while at < end:
        level = (end - at).bit_length() - 1
        places.append(place(level, at >> level))
        at += 1 << level
    return places


def inclusion(number: int, size: int) -> list[Range]:
    """Return the ranges whose hashes prove that the leaf `number` is in the tree of that size (2.1.1), in order."""
    first, path = 0, []
    while size > 1:
        half = _half(size)
        if number < half:
            path.append((first + half, first + size))
            size = half
        else:
            path.append((first, first + half))
            first, number, size = first + half, number - half, size - half
    return path[::-1]


def consistency(old: int, new: int) -> list[Range]:
    """Return the ranges whose hashes prove that the tree of size `old` is the beginning of the tree of size `new`
    (2.1.2).
    """
    if not 0 < old < new:
        return []
    first, size, whole = 0, new, True
    proof: list[Range] = []
    while old != size:
        half = _half(size)
        if old <= half:
            proof.append((first + half, first + size))
            size = half
        else:
            proof.append((first, first + half))
            first, old, size, whole = first + half, old - half, size - half, False
    if not whole:
        proof.append((first, first + size))
    return proof[::-1]


def includes(leaf: bytes, number: int, size: int, proof: Iterable[bytes], root: bytes) -> bool:
    """Return whether a proof shows that the tree contains the leaf (RFC 9162, 2.1.3.2)."""
    if not 0 <= number < size:
        return False
    at, last, hashed = number, size - 1, leaf
    for other in proof:
        if last == 0:
            return False
        if at & 1 or at == last:
            hashed = node_hash(other, hashed)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            hashed = node_hash(hashed, other)
        at, last = at >> 1, last >> 1
    return last == 0 and hashed == root


def consistent(old: int, old_root: bytes, new: int, new_root: bytes, proof: Sequence[bytes]) -> bool:
    """Return whether a proof shows that one tree is the beginning of the other (RFC 9162, 2.1.4.2)."""
    if old == new:
        return old_root == new_root and not proof
    if old == 0:
        return old_root == EMPTY and not proof
    if not 0 < old < new or not proof:
        return False
    at, last = old - 1, new - 1
    path = list(proof) if old & (old - 1) else [old_root, *proof]
    while at & 1:
        at, last = at >> 1, last >> 1
    before = after = path[0]
    for other in path[1:]:
        if last == 0:
            return False
        if at & 1 or at == last:
            before, after = node_hash(other, before), node_hash(other, after)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            after = node_hash(after, other)
        at, last = at >> 1, last >> 1
    return last == 0 and before == old_root and after == new_root


def _half(size: int) -> int:
    """Return the largest power of two below a size of two or more."""
    return 1 << ((size - 1).bit_length() - 1)
