"""Versions of Antiphon, before and after changes, in turns: streams, language, voices, conversations, a gateway, and a
call alone through that (with `--rounds 100`, as each is short).

Each version runs from an environment of its own and idles while another is measured, so that what else the machine
does falls on all alike. Every row is the median over the rounds; in brackets stands the median of the ratios within a
round to the first version. Above 1 is better where a row counts what was done, worse where it is a time.

In conversations the instant upstream answers `WORDS` words, one each `GAP_MS`: what models of two versions say differs,
and the first sound comes after the first clause.

    python bench/versions.py --version before=before/.venv/bin/python --version after=.venv/bin/python \\
        --models models --rounds 5 --references clips/transcripts.tsv clips/*.wav
"""

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from statistics import median

import msgspec
import uvloop

import chat_compare
import compare
import conversations
import gateway
import voices
from antiphon.bench import chat
from serving import KEY, System, start, start_antiphon, table

Figures = dict[str, float]  # by what they are of
FIRST_PORT = 8651
WORDS, GAP_MS = 16, 25
ALONE = 20
SPOKEN = """
[models]
nova-3 = "moonshine-tiny-en"
instant = {{ engines = ["instant"] }}
tts-1 = {{ engines = ["joe"] }}
[voices]
alloy = "joe"
[engines.joe]
kind = "piper"
model = "en-us-joe-medium"
[engines.instant]
kind = "openai"
server = "vllm"
url = "{url}"
model = "instant"
"""


def streams(system: System, arguments: argparse.Namespace, turn: int) -> Iterator[tuple[str, float]]:
    for count in arguments.streams:
        level = compare.measure(system, count, arguments.seconds, arguments.clips, arguments.references)
        yield f"{count} streams: goodput %", 100 * (level.goodput or 0.0)
        for name, latency in (("TTFB", level.ttfb), ("final", level.final)):
            if latency.p50 is not None and latency.p95 is not None:
                yield f"{count} streams: {name} P50, ms", latency.p50
                yield f"{count} streams: {name} P95, ms", latency.p95
        if level.server_cpu_percent is not None:
            yield f"{count} streams: server CPU %", level.server_cpu_percent


def language(system: System, arguments: argparse.Namespace, turn: int) -> Iterator[tuple[str, float]]:
    for callers in arguments.callers:
        count = max(6, min(100, 5 * callers))
        level = chat_compare.measure(system, callers, count, turn)
        yield f"{callers} callers: tokens/s", level.tokens_per_s
        yield f"{callers} callers: TTFT P50, ms", level.ttft.p50 or 0.0
        yield f"{callers} callers: TPOT P50, ms", level.tpot.p50 or 0.0


def spoken(system: System, arguments: argparse.Namespace, turn: int) -> Iterator[tuple[str, float]]:
    for callers in (1, 10):
        level = voices.measure(system, callers, arguments.seconds)
        yield f"{callers} voices: TTFB P50, ms", level.first_ms(0.5)
        yield f"{callers} voices: TTFB P95, ms", level.first_ms(0.95)
        yield f"{callers} voices: good %", 100 * level.good


def forwarded(system: System, arguments: argparse.Namespace, turn: int) -> Iterator[tuple[str, float]]:
    found = uvloop.run(gateway.measure(system, 4))
    yield "gateway: requests/s", found.whole_per_s
    yield "gateway: streams/s", found.streams_per_s
    yield "gateway: RSS, MB", found.rss_mb


def talked(system: System, arguments: argparse.Namespace, turn: int) -> Iterator[tuple[str, float]]:
    settings = argparse.Namespace(url=system.url, model=system.model, callers=4, turns=6, endpointing_ms=300)
    ended = uvloop.run(conversations.run(settings, KEY))
    for name in ("voice_to_voice", "barge_in"):
        waits = sorted(wait for latencies in ended for wait in getattr(latencies, name))
        for share in (0.5, 0.95):
            yield f"4 callers: {name} P{100 * share:.0f}, ms", waits[min(len(waits) - 1, int(share * len(waits)))]
    yield "4 callers: turns without an answer", float(sum(latencies.lost for latencies in ended))


def alone(system: System, arguments: argparse.Namespace, turn: int) -> Iterator[tuple[str, float]]:
    """A few calls at a time, so that versions alternate faster than the machine's speed changes."""
    for name, stream in (("whole", False), ("first token", True)):
        target = chat.Target(system.url, KEY, system.model, stream=stream)
        yield f"gateway, a call alone: {name} P50, ms", uvloop.run(gateway.answers(target, ALONE, 1))


Measure = Callable[[System, argparse.Namespace, int], Iterator[tuple[str, float]]]
KINDS: dict[str, tuple[str, str, Measure]] = {  # the model that is asked for, the configuration, what is measured
    "streams": ("", "", streams),
    "language": ("smollm2-135m-instruct", "", language),
    "voices": ("tts-1", "", spoken),
    "conversations": ("instant", SPOKEN, talked),
    "gateway": ("instant", gateway.ANTIPHON, forwarded),
    "alone": ("instant", gateway.ANTIPHON, alone),
}


def run(kind: str, arguments: argparse.Namespace) -> dict[str, list[Figures]]:
    """Return each version's figures, round by round."""
    model, config, measure = KINDS[kind]
    measured: dict[str, list[Figures]] = {name: [] for name, _ in arguments.version}
    with ExitStack() as stack:
        if "{url}" in config:
            command = [sys.executable, str(gateway.UPSTREAM), "--port", "8600"]
            if kind == "conversations":
                command += ["--tokens", str(WORDS), "--gap-ms", str(GAP_MS)]
            config = config.format(url=start(stack, "upstream", "instant", 8600, command).url)
        systems = [
            start_antiphon(stack, model, FIRST_PORT + number, config, arguments.models, name=name, python=python)
            for number, (name, python) in enumerate(arguments.version)
        ]
        for turn in range(arguments.rounds + 1):
            for system in systems if turn % 2 else reversed(systems):
                figures = dict(measure(system, arguments, turn))
                if turn:  # the first one only warms up
                    measured[system.name].append(figures)
    return measured


def rows(measured: dict[str, list[Figures]]) -> Iterator[list[str]]:
    first, *others = measured.values()
    for name in first[0]:
        row = [name, f"{median(figures[name] for figures in first):.4g}"]
        for other in others:
            pairs = [(a[name], b[name]) for a, b in zip(first, other, strict=True)]
            ratio = median(b / a if a else 1.0 for a, b in pairs)
            row.append(f"{median(b for _, b in pairs):.4g} ({ratio:.3f})")
        yield row


def version(text: str) -> tuple[str, str]:
    name, _, python = text.partition("=")
    if not (name and python):
        raise argparse.ArgumentTypeError("NAME=PYTHON, the interpreter of an environment")
    return name, python


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", nargs="*", type=Path, help="recordings, for streams")
    parser.add_argument("--references", type=Path)
    parser.add_argument("--version", type=version, action="append", required=True, help="NAME=PYTHON; several times")
    parser.add_argument("--models", type=Path, required=True, help="a folder of pulled models")
    parser.add_argument("--kinds", default=",".join(KINDS), help="with commas between")
    parser.add_argument("--streams", type=lambda text: [int(n) for n in text.split(",")], default=[8, 64])
    parser.add_argument("--callers", type=lambda text: [int(n) for n in text.split(",")], default=[1, 8, 100])
    parser.add_argument("--seconds", type=int, default=20, help="for each level of streams and voices")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, help="write every round to this JSON file")
    arguments = parser.parse_args()
    measured = {}
    for kind in arguments.kinds.split(","):
        measured[kind] = run(kind, arguments)
        print(table(("what", *measured[kind]), list(rows(measured[kind]))), "\n", flush=True)
        if arguments.out:
            arguments.out.write_bytes(msgspec.json.format(msgspec.json.encode(measured)) + b"\n")


if __name__ == "__main__":
    main()
