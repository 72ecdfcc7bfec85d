"""Merkle trees: the vectors of Certificate Transparency, and every proof of small trees against plain recursion."""

import hashlib

import pytest

from antiphon.core import merkle

# The eight leaves that implementations of RFC 6962 are tested with, and roots of trees of the first of them.
LEAVES = [
    bytes.fromhex(each)
    for each in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
]
ROOTS = {
    0: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    1: "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    8: "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
}
MOST = 40


def plain(leaves):
    """As RFC 6962 says it in 2.1."""
    if len(leaves) < 2:
        return leaves[0] if leaves else hashlib.sha256(b"").digest()
    half = 1
    while half * 2 < len(leaves):
        half *= 2
    return merkle.node_hash(plain(leaves[:half]), plain(leaves[half:]))


@pytest.fixture(scope="module")
def tree():
    """Leaves, and the hashes that were stored of them."""
    edge, hashes = merkle.Edge(), []
    leaves = [merkle.leaf_hash(bytes([n])) for n in range(MOST)]
    for size, leaf in enumerate(leaves, 1):
        hashes.append(edge.add(leaf))
        assert edge.root == plain(leaves[:size])
    return leaves, hashes


def of(hashes, ranges):
    return [merkle.fold([hashes[number][level] for number, level in merkle.subtrees(each)]) for each in ranges]


def test_known_roots():
    edge = merkle.Edge()
    seen = {0: edge.root.hex()}
    for size, data in enumerate(LEAVES, 1):
        edge.add(merkle.leaf_hash(data))
        seen[size] = edge.root.hex()
    assert {size: seen[size] for size in ROOTS} == ROOTS


def test_every_leaf_is_proved_to_be_there_and_no_other(tree):
    leaves, hashes = tree
    for size in range(1, MOST + 1):
        root = plain(leaves[:size])
        for number in range(size):
            proof = of(hashes, merkle.inclusion(number, size))
            assert merkle.includes(leaves[number], number, size, proof, root)
            assert not merkle.includes(leaves[number], (number + 1) % size, size, proof, root) or size == 1
            assert not merkle.includes(bytes(32), number, size, proof, root)
            assert not merkle.includes(leaves[number], number, size, [*proof, bytes(32)], root)


def test_every_tree_is_proved_to_begin_as_the_one_before_it(tree):
    leaves, hashes = tree
    for new in range(MOST + 1):
        for old in range(new + 1):
            before, after = plain(leaves[:old]), plain(leaves[:new])
            proof = of(hashes, merkle.consistency(old, new))
            assert merkle.consistent(old, before, new, after, proof)
            assert not merkle.consistent(old, bytes(32), new, after, proof)
            assert not merkle.consistent(old, before, new, bytes(32), proof) or old == 0
            for at in range(len(proof)):
                assert not merkle.consistent(old, before, new, after, [*proof[:at], bytes(32), *proof[at + 1 :]])
            assert len(proof) <= 2 * MOST.bit_length()
