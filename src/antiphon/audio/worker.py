"""The process that decoder processes are forked from: one for each recording or live stream (see `confined.forks`)."""

import contextlib
import socket
from collections.abc import Callable

from antiphon.audio.demux import Decoding, Gone, Link, warm_up
from antiphon.audio.frames import Kind, header
from antiphon.confined.forks import serve


def _decode(job: socket.socket, confine: Callable[[], None]) -> None:
    confine()
    with contextlib.suppress(Gone):
        Decoding(Link(job)).run()


def _died(number: int) -> bytes:
    return header(Kind.DIED, 1) + bytes([number])


def main() -> None:
    serve(warm_up, _decode, _died)


if __name__ == "__main__":
    main()
