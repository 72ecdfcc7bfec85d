"""What each transport costs: the same streams by every protocol in turn, against one server, in one run.

Deepgram's, AssemblyAI's and ElevenLabs' protocols go over WebSocket, Google's over gRPC, Amazon's over HTTP/2 with each
event signed. Utterances end after 300 ms of silence, but Amazon's after 500 ms, since its protocol cannot say it.
With `--redact`, each is followed by the same streams of a project that hides those entities (`all` are all).
Prints a table for RESULTS.md, a row for each protocol and round.

    python bench/transports.py --streams 64 --rounds 3 --references clips/transcripts.tsv clips/*.wav
"""

import argparse
import json
import urllib.request
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from antiphon.bench.protocols.table import PROTOCOLS
from compare import HEAD, measure, row
from serving import HOST, KEY, System, start_antiphon

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
    parser.add_argument("--redact", default="")
    arguments = parser.parse_args()
    names = "".join(f'"{protocol.model}" = "moonshine-tiny-en"\n' for protocol in PROTOCOLS.values())
    with ExitStack() as stack:
        config = f"[grpc]\nport = {GRPC_PORT}\n[models]\n{names}[engines]\n"
        system = start_antiphon(stack, "", PORT, config, arguments.models.resolve())
        keys = {"": KEY} | ({", redacted": redacting(system, arguments.redact)} if arguments.redact else {})
        over_grpc = replace(system, url=f"grpc://{HOST}:{GRPC_PORT}")
        print(HEAD, flush=True)
        for _ in range(arguments.rounds):
            for name in arguments.protocols.split(","):
                at = over_grpc if name == "google" else system
                for how, key in keys.items():
                    level = measure(
                        at, arguments.streams, arguments.seconds, arguments.clips, arguments.references, name, key
                    )
                    print(row(name + how, level), flush=True)


def redacting(system: System, entities: str) -> str:
    """Return the key of a project whose policy hides those entities."""
    ask(system, "projects", {"id": "redacting", "redact": entities})
    key: str = ask(system, "keys", {"project": "redacting"})["key"]
    return key


def ask(system: System, what: str, body: dict[str, str]) -> dict[str, str]:
    request = urllib.request.Request(
        f"{system.url}/admin/v1/{what}",
        json.dumps(body).encode(),
        {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        made: dict[str, str] = json.loads(answer.read())
    return made


if __name__ == "__main__":
    main()
