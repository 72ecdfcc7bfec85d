"""Streams against streams: Antiphon, Antiphon without speculation or batching, and the peer, in one run.

The systems take turns at every number of streams, so that what else the machine does falls on all alike; the other
servers idle meanwhile. Writes what `antiphon bench stt` measured as JSON, a picture, and a table for RESULTS.md.

    python bench/compare.py --out results clips/*.wav --references clips/transcripts.tsv --peer peer-venv/bin/python
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import msgspec

from antiphon.bench import plot
from antiphon.bench.measure import Level

KEY = "bench-key-0123456789"
START_S = 60
PEER = Path(__file__).parent / "peer_moonshine_voice.py"
VARIANTS = {
    "antiphon": "",
    "no speculation": "[recognition]\nspeculative = false\n",
    "no batching": "[recognition]\nbatched = false\n",
}


@dataclass(frozen=True, slots=True)
class System:
    """A running server."""

    name: str
    port: int
    pid: int


def start(stack: ExitStack, name: str, port: int, command: list[str], environment: dict[str, str]) -> System:
    process = subprocess.Popen(command, env={**os.environ, **environment}, stdout=subprocess.DEVNULL)
    stack.callback(process.wait, 30)
    stack.callback(process.terminate)
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=1)
        except urllib.error.HTTPError:
            break  # it answers, in its own way
        except OSError:
            time.sleep(0.2)
        else:
            break
    return System(name, port, process.pid)


def start_all(stack: ExitStack, names: list[str], peer: Path | None, models: Path) -> list[System]:
    systems = []
    for number, name in enumerate(names):
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        (folder / "models").symlink_to(models)
        (folder / "config.toml").write_text(VARIANTS[name])
        port = 8200 + number
        command = [sys.executable, "-m", "antiphon", "serve", "--offline", "--port", str(port)]
        command += ["--data-dir", str(folder), "--config", str(folder / "config.toml")]
        systems.append(start(stack, name, port, command, {"ANTIPHON_API_KEY": KEY}))
    if peer:
        command = [str(peer), str(PEER), "--port", "8290"]
        systems.append(start(stack, "moonshine-voice", 8290, command, {}))
    return systems


def measure(system: System, streams: int, given: argparse.Namespace) -> Level:
    with tempfile.NamedTemporaryFile(suffix=".json") as report:
        command = [sys.executable, "-m", "antiphon", "bench", "stt", "--url", f"ws://127.0.0.1:{system.port}"]
        command += ["--api-key", KEY, "--streams", str(streams), "--seconds", str(given.seconds)]
        command += ["--pid", str(system.pid), "--json", report.name]
        command += ["--references", str(given.references)] if given.references else []
        command += ["--audio", *map(str, given.clips)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        levels = msgspec.json.decode(Path(report.name).read_bytes())["levels"]
    return msgspec.convert(levels[0], Level)


def row(name: str, level: Level) -> str:
    def shown(value: float | None, form: str) -> str:
        return "-" if value is None else format(value, form)

    latencies = (
        " / ".join(shown(part, ".0f") for part in (value.p50, value.p95, value.p99))
        for value in (level.ttfb, level.first_word, level.final)
    )
    cells = [name, str(level.streams), str(level.refused), str(level.lost), *latencies]
    cells += [shown(level.goodput, ".1%"), shown(level.wer, ".1%"), shown(level.server_cpu_percent, ".0f")]
    cells += [shown(level.client_cpu_percent, ".0f"), shown(level.server_rss_mb, ".0f")]
    return "| " + " | ".join(cells) + " |"


COLUMNS = (
    *("system", "streams", "refused", "lost", "TTFB ms P50/P95/P99", "first word ms", "final ms", "goodput", "WER"),
    *("server CPU %", "client CPU %", "server RSS MB"),
)
HEAD = f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", nargs="+", type=Path)
    parser.add_argument("--references", type=Path)
    parser.add_argument("--models", type=Path, default=Path("~/.local/share/antiphon/models").expanduser())
    parser.add_argument("--peer", type=Path, help="the Python of the peer's virtual environment")
    parser.add_argument("--systems", default="antiphon", help=f"of {', '.join(VARIANTS)}, with commas")
    parser.add_argument("--streams", default="1,8,32,64,96,128")
    parser.add_argument("--peer-streams", default="1,4,8,16")
    parser.add_argument("--seconds", type=int, default=30)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    counts, peer_counts = ([int(n) for n in text.split(",")] for text in (given.streams, given.peer_streams))
    runs: dict[str, list[Level]] = {}
    with ExitStack() as stack:
        systems = start_all(stack, given.systems.split(","), given.peer, given.models.resolve())
        print(HEAD, flush=True)
        for count in sorted({*counts, *(peer_counts if given.peer else ())}):
            for system in systems:
                if count in (peer_counts if system.name == "moonshine-voice" else counts):
                    level = measure(system, count, given)
                    runs.setdefault(system.name, []).append(level)
                    print(row(system.name, level), flush=True)
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "streams.json").write_bytes(msgspec.json.format(msgspec.json.encode(runs)) + b"\n")
    plot.draw(runs, given.out / "streams.png")


if __name__ == "__main__":
    main()
