"""Checks an audit log of Antiphon against checkpoints that were kept outside, with nothing of Antiphon's.

    python verify_audit.py audit.jsonl --key KEY --checkpoints FILE [--checkpoints FILE] [--witness KEY]

reads what `antiphon audit export` wrote, from the first record on, or the database `ledger.db` itself, and finds a
byte that was changed, records that were deleted, added, reordered or cut off, a log that was put back to an earlier
state, and one that was shown to others in another form. KEY is what `antiphon audit checkpoint --key` prints: note it
down when the server is set up. FILE holds checkpoints, one behind the other. With `--witness`, the newest checkpoint
must have the signature of that witness, too. What came after the newest checkpoint is not vouched for.

It needs Python 3.11 and `cryptography`. The tree is that of RFC 6962; the checkpoints are those of C2SP.
"""

import argparse
import base64
import hashlib
import re
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

LINE = re.compile(rb'\{"leaf":"([0-9a-f]{64})","number":(\d{1,18}),"record":(.+)\}\n', re.DOTALL)
LOG, WITNESS = 1, 4  # types of keys
Record = tuple[bytes | None, bytes]  # what it says, unless its time is over, and its leaf's hash


class Tampered(Exception):
    """What was found."""


class Key:
    """`name+id+key`, as keys of signed notes are written down."""

    def __init__(self, text: str) -> None:
        self.name, id, encoded = text.strip().split("+", 2)
        data = base64.b64decode(encoded, validate=True)
        self.kind, self._public = data[0], Ed25519PublicKey.from_public_bytes(data[1:])
        self.id = hashlib.sha256(self.name.encode() + b"\n" + data).digest()[:4]
        if self.id.hex() != id or self.kind not in (LOG, WITNESS):
            raise ValueError(f"{text} is no key that this program knows")

    def signed(self, text: str, signatures: list[str]) -> bool:
        """Whether one of these lines is by this key, over that text."""
        for line in signatures:
            _, name, encoded = line.split(" ")
            data = base64.b64decode(encoded, validate=True)
            if name != self.name or data[:4] != self.id:
                continue
            message, signature = text, data[4:]
            if self.kind == WITNESS:
                message = f"cosignature/v1\ntime {int.from_bytes(data[4:12], 'big')}\n{text}"
                signature = data[12:]
            try:
                self._public.verify(signature, message.encode())
                return True
            except InvalidSignature:
                continue
        return False


def read_checkpoints(files: list[Path], key: Key, witnesses: list[Key]) -> dict[int, bytes]:
    """The root at each size that was signed for. All must be signed by the log, the newest by the witnesses, too."""
    roots: dict[int, bytes] = {}
    newest: tuple[int, str, list[str]] = (-1, "", [])
    for file in files:
        rest = file.read_text("utf-8")
        while rest.strip():
            text, _, rest = rest.lstrip("\n").partition("\n\n")
            lines = rest.split("\n")
            count = next((n for n, line in enumerate(lines) if not line.startswith("\u2014 ")), len(lines))
            signatures, rest = lines[:count], "\n".join(lines[count:])
            origin, size, root, *_ = [*text.split("\n"), "", ""]
            if origin != key.name or not key.signed(f"{text}\n", signatures):
                raise Tampered(f"a checkpoint in {file} is not signed by the log's key")
            at, hashed = int(size), base64.b64decode(root, validate=True)
            if roots.setdefault(at, hashed) != hashed:
                raise Tampered(f"the log was forked: there are two signed checkpoints of its first {at} records")
            newest = max(newest, (at, f"{text}\n", signatures))
    if not roots:
        raise Tampered("there is no checkpoint")
    for witness in witnesses:
        if not witness.signed(*newest[1:]):
            raise Tampered(f"the newest checkpoint, of {newest[0]} records, is not signed by {witness.name}")
    return roots


def read_export(path: Path) -> Iterator[Record]:
    with path.open("rb") as file:
        for number, line in enumerate(file):
            found = LINE.fullmatch(line)
            if found is None or int(found[2]) != number or str(number).encode() != found[2]:
                raise Tampered(f"line {number + 1} is not that of record {number}")
            yield (None if found[3] == b"null" else found[3]), bytes.fromhex(found[1].decode())


def read_database(path: Path) -> Iterator[Record]:
    """Also checks the hashes that are stored of the tree, with the record that completes each subtree."""
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database:
        rows = database.execute("SELECT number, hashes, body FROM audit ORDER BY number")
        roots: list[bytes] = []
        for number, (stored, hashes, body) in enumerate(rows):
            if stored != number:
                raise Tampered(f"record {number} is missing")
            leaf = hashed = hashes[:32]
            yield body, leaf
            completed, expected = number, leaf
            while completed & 1:
                hashed, completed = node(roots.pop(), hashed), completed >> 1
                expected += hashed
            if hashes != expected:
                raise Tampered(f"the hashes stored with record {number} are not those of the tree")
            roots.append(hashed)


def node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def verify(records: Iterator[Record], roots: dict[int, bytes]) -> tuple[int, int]:
    """How many records there are, and what of how many was dropped at the end of its time. Raises `Tampered`."""
    edge: list[tuple[int, bytes]] = []  # complete subtrees from the left: their sizes and hashes
    size = dropped = 0
    check_root(edge, size, roots)
    for body, leaf in records:
        if body is None:
            if dropped != size:
                raise Tampered(f"record {size} was dropped, and records before it were not")
            dropped += 1
        elif hashlib.sha256(b"\x00" + body).digest() != leaf:
            raise Tampered(f"record {size} was changed: its hash is another")
        width, hashed = 1, leaf
        while edge and edge[-1][0] == width:
            hashed, width = node(edge.pop()[1], hashed), 2 * width
        edge.append((width, hashed))
        size += 1
        check_root(edge, size, roots)
    if size < max(roots):
        raise Tampered(f"the log was cut or put back: it has {size} records, and {max(roots)} were signed for")
    return size, dropped


def check_root(edge: list[tuple[int, bytes]], size: int, roots: dict[int, bytes]) -> None:
    if size not in roots:
        return
    root = edge[-1][1] if edge else hashlib.sha256().digest()
    for _, hashed in edge[-2::-1]:
        root = node(hashed, root)
    if root != roots[size]:
        raise Tampered(f"the log was rewritten or forked: its first {size} records are not those that were signed for")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("log", type=Path, help="what `antiphon audit export` wrote, or ledger.db")
    parser.add_argument("--key", required=True, help="the log's public key")
    parser.add_argument("--checkpoints", type=Path, action="append", required=True, help="a file; can be repeated")
    parser.add_argument("--witness", action="append", default=[], help="a witness's public key; can be repeated")
    options = parser.parse_args()
    try:
        roots = read_checkpoints(options.checkpoints, Key(options.key), [Key(each) for each in options.witness])
        with options.log.open("rb") as file:
            database = file.read(15) == b"SQLite format 3"
        size, dropped = verify((read_database if database else read_export)(options.log), roots)
    except (Tampered, ValueError, sqlite3.Error) as found:
        sys.exit(f"NOT WHOLE: {found}")
    print(
        f"{size} records, as they were signed for: {len(roots)} checkpoints hold, the newest of {max(roots)} records."
    )
    if dropped:
        print(f"What the first {dropped} said was dropped at the end of its time; their hashes are there.")
    if size > max(roots):
        print(f"The last {size - max(roots)} came after the newest checkpoint, and nobody vouches for them yet.")


if __name__ == "__main__":
    main()
