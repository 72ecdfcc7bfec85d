"""What callers get while five times as many come as can be served, and how soon it is over.

Three phases against one server that runs as a user would start it, all of them open loops, in which calls arrive at
random and wait for nobody: `--rate` calls a second, which is what the machine can do; `--times` as many; and a fifth of
it, until it is served as before. A call is good if its first output came within the objective (of chat, the first
token; of a voice, the first sound, and it never ran out; of live speech, each utterance's first word and its final).

- goodput: good calls a second, and their share of those that were admitted; under load its share of the first phase's.
- refusals: the time from when a refused call was due until it had its answer.
- recovery: from the end of the load to the first call from which on all of ten were good.

    python bench/overload.py --kind chat --models models --rate 8 --seconds 40
"""

import argparse
import asyncio
import random
import sys
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import msgspec
import uvloop

from antiphon.bench import chat, client, clips, measure, schedule
from antiphon.bench.generations import OBJECTIVES, Answer
from antiphon.bench.protocols.deepgram import DeepgramLine
from antiphon.bench.protocols.line import Refused, Target
from antiphon.core.audio import SAMPLE_RATE, ms_to_samples
from chat_compare import prompts
from serving import KEY, System, start_antiphon, table
from voices import OBJECTIVE_MS, SENTENCES, _Ear

MODELS = {"chat": "smollm2-135m-instruct", "speech": "nova-3", "voice": "tts-1"}
RATES = {"chat": 8.0, "speech": 1.5, "voice": 6.0}  # what two cores can do
STREAM_S = 8
RECOVERED = 10  # good calls in a row
LONGEST_RECOVERY_S = 40
FULL = frozenset({429, 503})


class Called(msgspec.Struct, frozen=True):
    """One call: when it was due and when it ended, in seconds of its phase. `tokens` are of chat only."""

    due_s: float
    ended_s: float
    good: bool
    refused: bool = False
    failed: bool = False
    tokens: int = 0


@dataclass(frozen=True, slots=True)
class Phase:
    """So many calls a second, for so long."""

    rate: float
    seconds: float
    seed: int

    def dues(self) -> list[float]:
        rng = random.Random(self.seed)
        return [at_ns / 1e9 for at_ns in chat.arrivals(max(1, round(self.rate * self.seconds)), self.rate, rng)]


Load = Callable[[System, Phase], Coroutine[None, None, list[Called]]]


async def _open_loop(phase: Phase, call: Callable[[int, float], Coroutine[None, None, Called]]) -> list[Called]:
    """`call` gets a number, and when on the loop's clock the phase began and it is due."""
    loop = asyncio.get_running_loop()
    begun_s = loop.time()
    async with asyncio.TaskGroup() as group:
        calls: list[asyncio.Task[Called]] = []
        for number, due_s in enumerate(phase.dues()):
            await asyncio.sleep(max(0.0, begun_s + due_s - loop.time()))
            calls.append(group.create_task(call(number, due_s)))
    return [task.result() for task in calls]


# -- chat --------------------------------------------------------------------------------------------------------------


async def chats(system: System, phase: Phase) -> list[Called]:
    target = chat.Target(system.url, KEY, system.model, max_tokens=64, extra={"temperature": 0})
    count = len(phase.dues())
    answers, _ = await chat.ask_all(target, prompts(count, phase.seed), count, rate=phase.rate, seed=phase.seed)
    return [_of_chat(answer) for answer in answers]


def _of_chat(answer: Answer) -> Called:
    ttft_ms = answer.ttft_ms
    return Called(
        due_s=answer.due_ns / 1e9,
        ended_s=answer.last_ns / 1e9,
        good=answer.whole and ttft_ms is not None and ttft_ms <= OBJECTIVES.ttft_ms,
        refused=answer.refused,
        failed=answer.failure is not None,
        tokens=answer.tokens if answer.whole else 0,
    )


# -- voices ------------------------------------------------------------------------------------------------------------


async def speeches(system: System, phase: Phase) -> list[Called]:
    loop = asyncio.get_running_loop()
    headers = {"authorization": f"Bearer {KEY}"}
    async with aiohttp.ClientSession(headers=headers, connector=aiohttp.TCPConnector(limit=0)) as http:
        begun_s = loop.time()

        async def speak(number: int, due_s: float) -> Called:
            text = SENTENCES[number % len(SENTENCES)]
            request = {"model": system.model, "voice": "alloy", "input": text, "response_format": "pcm"}
            ear = _Ear(24_000)
            try:
                async with http.post(f"{system.url}/v1/audio/speech", json=request) as answer:
                    refused = answer.status in FULL
                    failed = answer.status != 200 and not refused
                    async for piece in answer.content.iter_any():
                        ear.hear(len(piece))
            except (aiohttp.ClientError, OSError):
                return Called(due_s, loop.time() - begun_s, good=False, failed=True)
            sentence, ended_s = ear.end(), loop.time() - begun_s
            good = not refused and not failed and sentence.first_ms <= OBJECTIVE_MS and not sentence.ran_dry
            return Called(due_s, ended_s, good, refused, failed)

        return await _open_loop(phase, speak)


# -- live speech -------------------------------------------------------------------------------------------------------


def streams(samples: Sequence[clips.Clip]) -> Load:
    """Each call is a stream of `STREAM_S`."""

    async def load(system: System, phase: Phase) -> list[Called]:
        loop = asyncio.get_running_loop()
        target = Target(system.url, KEY, system.model)
        plans = schedule.plan_streams(
            *(samples, len(phase.dues())),
            samples=STREAM_S * SAMPLE_RATE,
            chunk_samples=ms_to_samples(target.chunk_ms),
            seed=phase.seed,
        )
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
            begun_s = loop.time()

            async def listen(number: int, due_s: float) -> Called:
                played = client.Played(plans[number], DeepgramLine(target, http))
                try:
                    await played.line.open()
                except Refused:
                    return Called(due_s, loop.time() - begun_s, good=False, refused=True)
                await played.run(time.monotonic_ns())
                stream = played.outcome()
                judged = measure.verdicts(stream.plan, stream.results)
                good = stream.failure is None and all(verdict.good for verdict in judged)
                return Called(due_s, loop.time() - begun_s, good, failed=stream.failure is not None)

            return await _open_loop(phase, listen)

    return load


# -- the phases --------------------------------------------------------------------------------------------------------


class Result(msgspec.Struct, frozen=True):
    """What the phases came to. Times in milliseconds where it says so."""

    kind: str
    rate: float
    offered: int
    admitted: int
    good: int
    failed: int
    good_per_s: float
    of_the_first: float
    tokens_per_s: float
    first_good_per_s: float
    first_tokens_per_s: float
    refused: int
    refused_p50_ms: float | None
    refused_p95_ms: float | None
    recovered_s: float | None


async def measured(kind: str, load: Load, system: System, rate: float, times: float, seconds: float) -> Result:
    await load(system, Phase(rate / 4, 3, 1))
    first = await load(system, Phase(rate, seconds, 2))
    loaded = asyncio.create_task(load(system, Phase(rate * times, seconds, 3)))
    await asyncio.sleep(seconds)
    after = await load(system, Phase(max(rate / 5, 2.0 if kind != "speech" else 0.5), LONGEST_RECOVERY_S, 4))
    under = await loaded
    refusals = measure.percentiles((c.ended_s - c.due_s) * 1000 for c in under if c.refused)
    good, before = (sum(c.good for c in calls) / seconds for calls in (under, first))
    return Result(
        kind=kind,
        rate=rate * times,
        offered=len(under),
        admitted=sum(not c.refused for c in under),
        good=sum(c.good for c in under),
        failed=sum(c.failed for c in under),
        good_per_s=round(good, 2),
        of_the_first=round(good / before, 3) if before else 0.0,
        tokens_per_s=round(_tokens_per_s(under), 1),
        first_good_per_s=round(before, 2),
        first_tokens_per_s=round(_tokens_per_s(first), 1),
        refused=sum(c.refused for c in under),
        refused_p50_ms=refusals.p50,
        refused_p95_ms=refusals.p95,
        recovered_s=_recovered_s(after),
    )


def _tokens_per_s(calls: Sequence[Called]) -> float:
    return sum(c.tokens for c in calls) / max((c.ended_s for c in calls), default=1.0)


def _recovered_s(after: Sequence[Called]) -> float | None:
    """When the first of `RECOVERED` good calls in a row was due; `None` where there is none."""
    in_order = sorted(after, key=lambda c: c.due_s)
    for at, call in enumerate(in_order):
        if all(c.good for c in in_order[at : at + RECOVERED]) and at + RECOVERED <= len(in_order):
            return round(call.due_s, 1) if at else 0.0
    return None


COLUMNS = (
    *("kind", "calls/s", "admitted", "good", "good/s (first phase)", "of the first", "tokens/s (first phase)"),
    *("refusals ms P50 / P95", "recovery s"),
)


def row(r: Result) -> list[str]:
    return [
        *(r.kind, f"{r.rate:g}", f"{r.admitted} of {r.offered}", str(r.good)),
        *(f"{r.good_per_s} ({r.first_good_per_s})", f"{100 * r.of_the_first:.0f} %"),
        f"{r.tokens_per_s} ({r.first_tokens_per_s})",
        f"{r.refused_p50_ms} / {r.refused_p95_ms}",
        str(r.recovered_s),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", choices=tuple(MODELS), default="chat")
    parser.add_argument("--models", type=Path, required=True, help="the folder of pulled models")
    parser.add_argument("--audio", type=Path, nargs="*", default=[], help="clips, for speech")
    parser.add_argument("--rate", type=float, help="calls a second that can be served")
    parser.add_argument("--times", type=float, default=5.0)
    parser.add_argument("--seconds", type=float, default=40.0)
    parser.add_argument("--port", type=int, default=8640)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    loads: dict[str, Load] = {"chat": chats, "voice": speeches}
    if arguments.kind == "speech":
        if not arguments.audio:
            sys.exit("--kind speech needs --audio")
        loads["speech"] = streams([clips.load(path, {}) for path in arguments.audio])
    with ExitStack() as stack:
        system = start_antiphon(stack, MODELS[arguments.kind], arguments.port, "", arguments.models)
        rate = arguments.rate or RATES[arguments.kind]
        run = measured(arguments.kind, loads[arguments.kind], system, rate, arguments.times, arguments.seconds)
        result = uvloop.run(run)
    print(table(COLUMNS, [row(result)]))
    print(result)
    if arguments.out:
        arguments.out.write_bytes(msgspec.json.format(msgspec.json.encode(result)) + b"\n")


if __name__ == "__main__":
    main()
