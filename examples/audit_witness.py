"""A witness of audit logs: an outside copy of how far each log has come, which signs only what continues it.

    python audit_witness.py --port 9000 --name witness.example/one --folder STATE KEY [KEY ...]

Run it on a machine that whoever runs the server cannot reach. KEY is a log's public key, as `antiphon audit checkpoint
--key` prints it; the witness prints its own, for the server's configuration:

    [[audit.witnesses]]
    url = "https://witness.example"
    key = "witness.example/one+..."

It speaks C2SP's tlog-witness (`add-checkpoint`) and keeps the newest checkpoint of each log in STATE. It needs Python
3.11 and `cryptography`, and nothing of Antiphon's. Put a proxy with TLS in front of it.
"""

import argparse
import base64
import hashlib
import os
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from verify_audit import Key, node  # beside this file

MOST_BYTES = 64 * 1024


def begins(old: int, old_root: bytes, new: int, new_root: bytes, proof: list[bytes]) -> bool:
    """Whether the proof shows that the old tree is the beginning of the new one (RFC 9162, 2.1.4.2)."""
    if old == new or old == 0:
        return not proof and (old == 0 or old_root == new_root)
    path = proof if old & (old - 1) else [old_root, *proof]
    at, last = old - 1, new - 1
    while at & 1:
        at, last = at >> 1, last >> 1
    before = after = path[0] if path else b""
    for other in path[1:]:
        if not last:
            return False
        if at & 1 or at == last:
            before, after = node(other, before), node(other, after)
            while at and not at & 1:
                at, last = at >> 1, last >> 1
        else:
            after = node(after, other)
        at, last = at >> 1, last >> 1
    return not last and (before, after) == (old_root, new_root)


class Witness(BaseHTTPRequestHandler):
    folder: Path
    name: str
    private: Ed25519PrivateKey
    id: bytes
    logs: dict[str, Key]

    def do_POST(self) -> None:
        if self.path != "/add-checkpoint":
            return self.answer(404)
        length = int(self.headers.get("content-length") or 0)
        if not 0 < length <= MOST_BYTES:
            return self.answer(400)
        try:
            head, text, signatures = self.rfile.read(length).decode().split("\n\n", 2)
            old_line, *lines = head.split("\n")
            old, proof = int(old_line.removeprefix("old ")), [base64.b64decode(line, validate=True) for line in lines]
            origin, size, root = text.split("\n")[:3]
            new, new_root = int(size), base64.b64decode(root, validate=True)
            key = self.logs.get(origin)
            if key is None:
                return self.answer(404)
            if not key.signed(f"{text}\n", signatures.splitlines()):
                return self.answer(403)
        except ValueError:
            return self.answer(400)
        if old > new:
            return self.answer(400)
        state = self.folder / hashlib.sha256(origin.encode()).hexdigest()
        known, known_root = (state.read_text() if state.exists() else f"0 {'00' * 32}").split()
        if old != int(known):
            return self.answer(409, f"{known}\n", "text/x.tlog.size")
        if old == new and bytes.fromhex(known_root) != new_root:
            return self.answer(409)
        if not begins(old, bytes.fromhex(known_root), new, new_root, proof):
            return self.answer(422)
        with open(f"{state}.new", "w") as file:
            file.write(f"{new} {new_root.hex()}")
            file.flush()
            os.fsync(file.fileno())
        os.replace(f"{state}.new", state)
        now = int(time.time())
        signature = self.private.sign(f"cosignature/v1\ntime {now}\n{text}\n".encode())
        line = base64.b64encode(self.id + now.to_bytes(8, "big") + signature).decode()
        return self.answer(200, f"\u2014 {self.name} {line}\n")

    def answer(self, status: int, body: str = "", kind: str = "text/plain; charset=utf-8") -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body.encode())))
        self.end_headers()
        self.wfile.write(body.encode())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=9000)
    parser.add_argument("--name", required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("logs", nargs="+", metavar="KEY")
    options = parser.parse_args()
    options.folder.mkdir(mode=0o700, exist_ok=True)
    kept = options.folder / "key"
    if not kept.exists():
        kept.touch(0o600)
        kept.write_bytes(Ed25519PrivateKey.generate().private_bytes_raw())
    Witness.folder, Witness.name = options.folder, options.name
    Witness.private = Ed25519PrivateKey.from_private_bytes(kept.read_bytes())
    public = b"\x04" + Witness.private.public_key().public_bytes_raw()
    Witness.id = hashlib.sha256(options.name.encode() + b"\n" + public).digest()[:4]
    Witness.logs = {key.name: key for key in map(Key, options.logs)}
    server = HTTPServer(("127.0.0.1", options.port), Witness)
    print(f"{options.name}+{Witness.id.hex()}+{base64.b64encode(public).decode()}", flush=True)
    print(f"serves at http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
