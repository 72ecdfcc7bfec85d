"""Streams against streams: Antiphon, Antiphon without speculation or batching, and the peer, in one run.

The systems take turns at every number of streams, so that what else the machine does falls on all alike; the other
servers idle meanwhile. Writes what `antiphon bench stt` measured as JSON, a picture, and a table for RESULTS.md.

    python bench/compare.py --out results clips/*.wav --references clips/transcripts.tsv --peer peer-venv/bin/python
"""

import argparse
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import msgspec

from antiphon.bench import plot
from antiphon.bench.measure import Level
from serving import KEY, System, start, start_antiphon

PEER = Path(__file__).parent / "peer_moonshine_voice.py"
VARIANTS = {
    "antiphon": "",
    "no speculation": "[recognition]\nspeculative = false\n",
    "no batching": "[recognition]\nbatched = false\n",
}


def start_all(stack: ExitStack, names: list[str], peer: Path | None, models: Path) -> list[System]:
    systems = [
        start_antiphon(stack, "", 8200 + number, VARIANTS[name], models, name=name) for number, name in enumerate(names)
    ]
    if peer:
        systems.append(start(stack, "moonshine-voice", "", 8290, [str(peer), str(PEER), "--port", "8290"]))
    return systems


def measure(
    system: System,
    streams: int,
    seconds: int,
    clips: list[Path],
    references: Path | None,
    protocol: str = "deepgram",
    key: str = KEY,
) -> Level:
    with tempfile.NamedTemporaryFile(suffix=".json") as report:
        command = [sys.executable, "-m", "antiphon", "bench", "stt", "--protocol", protocol, "--url", system.url]
        command += ["--api-key", key, "--streams", str(streams), "--seconds", str(seconds)]
        command += ["--pid", str(system.pid), "--json", report.name]
        command += ["--references", str(references)] if references else []
        command += ["--audio", *map(str, clips)]
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
    arguments = parser.parse_args()
    counts, peer_counts = ([int(n) for n in text.split(",")] for text in (arguments.streams, arguments.peer_streams))
    runs: dict[str, list[Level]] = {}
    with ExitStack() as stack:
        systems = start_all(stack, arguments.systems.split(","), arguments.peer, arguments.models.resolve())
        print(HEAD, flush=True)
        for count in sorted({*counts, *(peer_counts if arguments.peer else ())}):
            for system in systems:
                if count in (peer_counts if system.name == "moonshine-voice" else counts):
                    level = measure(system, count, arguments.seconds, arguments.clips, arguments.references)
                    runs.setdefault(system.name, []).append(level)
                    print(row(system.name, level), flush=True)
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "streams.json").write_bytes(msgspec.json.format(msgspec.json.encode(runs)) + b"\n")
    plot.draw(runs, arguments.out / "streams.png")


if __name__ == "__main__":
    main()
