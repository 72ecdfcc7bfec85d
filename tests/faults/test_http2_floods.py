"""Callers who flood a server with HTTP/2: each is ended, the server's memory stays, and others are answered in time."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from antiphon.models import Store
from http2_peer import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    ENHANCE_YOUR_CALM,
    HEADERS,
    PING,
    PRIORITY,
    RST_STREAM,
    SETTINGS,
    WHOLE,
    WINDOW_UPDATE,
    Peer,
    frame,
)
from serving import LIGHT, Server, served

MAX_GROWTH_KB = 64 * 1024
MAX_WAIT_S = 2.0  # of somebody else's call, on a machine that is busy with other tests
WINDOW = 4


@pytest.fixture(scope="module")
def light(tmp_path_factory: pytest.TempPathFactory, models: Store) -> Iterator[Server]:
    with served(tmp_path_factory.mktemp("data"), models, LIGHT) as server:
        yield server


def memory_kb(server: Server) -> int:
    status = Path(f"/proc/{server.pid}/status").read_text().splitlines()
    return int(next(line.split()[1] for line in status if line.startswith("VmRSS")))


def resets(peer: Peer) -> bytes:
    """Requests that are taken back at once (CVE-2023-44487)."""
    return b"".join(
        frame(HEADERS, WHOLE, 2 * n + 1, peer.block()) + frame(RST_STREAM, 0, 2 * n + 1, (8).to_bytes(4))
        for n in range(20_000)
    )


def continuations(peer: Peer) -> bytes:
    """A block of headers that never ends (CVE-2024-27316)."""
    return frame(HEADERS, END_STREAM, 1, peer.block()) + frame(CONTINUATION, 0, 1, b"\0\1x\1y" * 3_000) * 1_000


def empty_continuations(peer: Peer) -> bytes:
    return frame(HEADERS, END_STREAM, 1, peer.block()) + frame(CONTINUATION, 0, 1, b"") * 100_000


def many_fields(peer: Peer) -> bytes:
    """One field, of which each repetition takes a byte."""
    block = peer.block(more=[("x-bomb", "y" * 4_000)]) + b"\xbe" * 40_000
    pieces = [block[n : n + 16_384] for n in range(0, len(block), 16_384)]
    rest = [frame(CONTINUATION, END_HEADERS * (n == len(pieces) - 1), 1, pieces[n]) for n in range(1, len(pieces))]
    return frame(HEADERS, END_STREAM, 1, pieces[0]) + b"".join(rest)


FLOODS: dict[str, Callable[[Peer], bytes]] = {
    "rapid reset": resets,
    "CONTINUATION": continuations,
    "empty CONTINUATION": empty_continuations,
    "SETTINGS": lambda peer: frame(SETTINGS, 0, 0, WINDOW.to_bytes(2) + (1).to_bytes(4)) * 100_000,
    "PING": lambda peer: frame(PING, 0, 0, bytes(8)) * 100_000,
    "PRIORITY": lambda peer: frame(PRIORITY, 0, 1, bytes(4) + b"\x10") * 100_000,
    "WINDOW_UPDATE": lambda peer: frame(WINDOW_UPDATE, 0, 0, (1).to_bytes(4)) * 100_000,
    "empty DATA": lambda peer: (
        frame(HEADERS, END_HEADERS, 1, peer.block("POST", "/v1/chat/completions")) + frame(DATA, 0, 1, b"") * 100_000
    ),
    "unknown frames": lambda peer: frame(99, 0, 0, b"x") * 100_000,
    "header bomb": many_fields,
}


class Others:
    """Somebody else, who asks again and again: how long the slowest call took."""

    def __init__(self, server: Server) -> None:
        self.slowest_s = 0.0
        self._server = server
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._ask)

    def __enter__(self) -> "Others":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _ask(self) -> None:
        with Peer(self._server.base_url) as peer:
            for n in range(100_000):
                began = time.monotonic()
                peer.ask(2 * n + 1)
                assert peer.answer(2 * n + 1).status == 200
                self.slowest_s = max(self.slowest_s, time.monotonic() - began)
                if self._over.wait(0.02):
                    return


@pytest.mark.parametrize("flood", FLOODS)
def test_a_flood(light: Server, flood: str) -> None:
    before = memory_kb(light)
    with Others(light) as others:
        for _ in range(3):
            with Peer(light.base_url) as peer:
                data = FLOODS[flood](peer)
                threading.Thread(target=peer.raw, args=(data,), daemon=True).start()
                assert peer.ended() in (ENHANCE_YOUR_CALM, None)
    assert others.slowest_s < MAX_WAIT_S
    assert memory_kb(light) - before < MAX_GROWTH_KB


def headless(server: Server) -> float:
    """How long somebody may stay who does not end a head."""
    with Peer(server.base_url) as peer:
        peer.send(HEADERS, END_STREAM, 1, peer.block())
        began = time.monotonic()
        assert peer.drain()
        return time.monotonic() - began


def test_windows_that_are_never_opened_and_a_head_that_never_ends(light: Server) -> None:
    """Answers that nobody takes wait, and are given up; the rest of the connection goes on. Both at once, because each
    waits for as long as the server does.
    """
    before = memory_kb(light)
    with ThreadPoolExecutor(1) as pool, Peer(light.base_url, [(WINDOW, 0)]) as peer, Others(light) as others:
        headless_s = pool.submit(headless, light)
        block = [peer.block(path="/openapi.json") for _ in range(100)]
        peer.raw(b"".join(frame(HEADERS, WHOLE, 2 * n + 1, each) for n, each in enumerate(block)))
        given_up = {peer.next(RST_STREAM, patience_s=25).stream for _ in range(100)}
        assert len(given_up) == 100
        peer.settings([(WINDOW, 65_535)])
        peer.ask(999)
        assert peer.next(DATA).payload == b"ok\n"
        assert 10 < headless_s.result() < 20
    assert others.slowest_s < MAX_WAIT_S
    assert memory_kb(light) - before < MAX_GROWTH_KB
