"""What each transport costs: the same streams by every protocol in turn, against one server, in one run.

Deepgram's, AssemblyAI's and ElevenLabs' protocols go over WebSocket, Google's over gRPC, Amazon's over HTTP/2 with each
event signed. Utterances end after 300 ms of silence, but Amazon's after 500 ms, since its protocol cannot say it.
Prints a table for RESULTS.md, a row for each protocol and round.

    python bench/transports.py --streams 64 --rounds 3 --references clips/transcripts.tsv clips/*.wav
"""

import argparse
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from antiphon.bench.protocols.table import PROTOCOLS
from compare import HEAD, measure, row
from serving import HOST, start_antiphon

PORT, GRPC_PORT = 8300, 8301


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", nargs="+", type=Path)
    parser.add_argument("--references", type=Path)
    parser.add_argument("--models", type=Path, default=Path("~/.local/share/antiphon/models").expanduser())
    parser.add_argument("--protocols", default=",".join(PROTOCOLS), help="with commas between")
    parser.add_argument("--streams", type=int, default=64)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=1)
    given = parser.parse_args()
    names = "".join(f'"{protocol.model}" = "moonshine-tiny-en"\n' for protocol in PROTOCOLS.values())
    with ExitStack() as stack:
        config = f"[grpc]\nport = {GRPC_PORT}\n[models]\n{names}[engines]\n"
        system = start_antiphon(stack, "", PORT, config, given.models.resolve())
        over_grpc = replace(system, url=f"grpc://{HOST}:{GRPC_PORT}")
        print(HEAD, flush=True)
        for _ in range(given.rounds):
            for name in given.protocols.split(","):
                at = over_grpc if name == "google" else system
                level = measure(at, given.streams, given.seconds, given.clips, given.references, name)
                print(row(name, level), flush=True)


if __name__ == "__main__":
    main()
