"""What forwarding costs: Antiphon and LiteLLM's proxy before one instant upstream, and the upstream alone, in one run.

The systems take turns in every round, so that what else the machine does falls on all alike; the others idle meanwhile.
Antiphon meters durably, as always. Both have one worker and ask for a key. Rates are measured with 32 callers, each
answer 32 tokens long (a stream has a chunk for each); latency alone with one caller, and what is added is the
difference of medians to the upstream asked directly in the same round. The table shows medians over the rounds.

    python3.11 -m venv litellm && litellm/bin/pip install 'litellm[proxy]'
    python bench/gateway.py --litellm litellm/bin/litellm

The rate of whole answers is wrk's where it is installed, else our own generator's.
"""

import argparse
import asyncio
import re
import shutil
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import msgspec
import uvloop

from antiphon.bench import chat, process
from antiphon.bench.completions import Messages
from antiphon.bench.generations import ChatLevel
from serving import HOST, KEY, System, start, start_antiphon, table

CALLERS = 32
ALONE = 200  # requests, for the latency
PROMPT: list[Messages] = [[{"role": "user", "content": "Say thirty-two words, whichever you like."}]]
UPSTREAM = Path(__file__).parent / "instant_upstream.py"

ANTIPHON = """
[models]
instant = {{ engines = ["instant"] }}
[engines.instant]
kind = "openai"
server = "vllm"
url = "{url}"
model = "instant"
"""
LITELLM = """
model_list:
  - model_name: instant
    litellm_params: {{ model: openai/instant, api_base: "{url}/v1", api_key: none }}
general_settings: {{ master_key: {key} }}
"""
WRK = """
wrk.method = "POST"
wrk.body = [[{body}]]
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Authorization"] = "Bearer {key}"
"""


@dataclass(frozen=True, slots=True)
class Round:
    """One system in one round. Latencies are medians, alone."""

    whole_per_s: float
    streams_per_s: float
    whole_ms: float
    ttft_ms: float
    rss_mb: float


async def measure(system: System, seconds: float) -> Round:
    whole = chat.Target(system.url, KEY, system.model, stream=False)
    streams = chat.Target(system.url, KEY, system.model)
    alone = await answers(whole, ALONE, 1)
    first = await answers(streams, ALONE // 2, 1)
    if shutil.which("wrk"):
        whole_per_s = await asyncio.to_thread(wrk, system, seconds)
    else:
        whole_per_s = (await for_seconds(whole, seconds)).requests_per_s
    streams_per_s = (await for_seconds(streams, seconds)).requests_per_s
    rss_mb = process.usage(system.pid).rss_bytes / 1e6
    return Round(whole_per_s, streams_per_s, alone, first, rss_mb)


async def answers(target: chat.Target, count: int, callers: int) -> float:
    """The median in milliseconds: to the first token of streams, to the end of whole answers."""
    measured, _ = await chat.ask_all(target, PROMPT, count, concurrency=callers)
    failed = [answer.failure or "refused" for answer in measured if not answer.whole]
    if failed:
        sys.exit(f"{target.url}: {len(failed)} of {count} failed, the first: {failed[0]}")
    return median(answer.total_ms if answer.ttft_ms is None else answer.ttft_ms for answer in measured)


async def for_seconds(target: chat.Target, seconds: float) -> ChatLevel:
    """As many requests as fill about that time, by what a first few take."""
    few = await chat.run_level(target, PROMPT, 4 * CALLERS, concurrency=CALLERS)
    level = await chat.run_level(
        target, PROMPT, max(4 * CALLERS, round(few.requests_per_s * seconds)), concurrency=CALLERS
    )
    if level.failures or level.refused:
        sys.exit(f"{target.url}: {level.refused} refused, failures: {level.failures}")
    return level


def wrk(system: System, seconds: float) -> float:
    """Whole answers a second."""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        body = msgspec.json.encode({"model": system.model, "messages": PROMPT[0]}).decode()
        script.write(WRK.format(body=body, key=KEY))
        script.flush()
        command = ["wrk", "-t1", f"-c{CALLERS}", f"-d{max(1, round(seconds))}s", "--timeout", "60s"]
        command += ["-s", script.name, f"{system.url}/v1/chat/completions"]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    rate = re.search(r"Requests/sec:\s+([0-9.]+)", output)
    if rate is None or "Non-2xx" in output or "Socket errors" in output:
        sys.exit(f"{system.url}: {output}")
    return float(rate[1])


def rows(rounds: dict[str, list[Round]]) -> list[list[str]]:
    upstream = rounds["upstream alone"]

    def added(mine: list[Round], part: str) -> float:
        return float(median(getattr(a, part) - getattr(b, part) for a, b in zip(mine, upstream, strict=True)))

    made = []
    for name, mine in rounds.items():
        direct = mine is upstream
        middle = {part: median(getattr(one, part) for one in mine) for part in Round.__dataclass_fields__}
        made.append(
            [
                name,
                f"{middle['whole_per_s']:,.0f}",
                f"{middle['streams_per_s']:,.0f}",
                f"{middle['whole_ms']:.2f}" + ("" if direct else f" (+{added(mine, 'whole_ms'):.2f})"),
                f"{middle['ttft_ms']:.2f}" + ("" if direct else f" (+{added(mine, 'ttft_ms'):.2f})"),
                f"{middle['rss_mb']:.0f}",
            ]
        )
    return made


COLUMNS = ("system", "requests/s", "streams/s", "alone, ms P50", "TTFT alone, ms P50", "RSS MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--litellm", type=Path, help="the command in its virtual environment")
    parser.add_argument("--seconds", type=float, default=4, help="for each rate")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, help="write every round to this JSON file")
    arguments = parser.parse_args()
    with ExitStack() as stack:
        upstream = start(stack, "upstream alone", "instant", 8600, [sys.executable, str(UPSTREAM), "--port", "8600"])
        systems = [upstream, start_antiphon(stack, "instant", 8601, ANTIPHON.format(url=upstream.url))]
        if arguments.litellm:
            config = stack.enter_context(tempfile.NamedTemporaryFile("w", suffix=".yaml"))
            config.write(LITELLM.format(url=upstream.url, key=KEY))
            config.flush()
            command = [str(arguments.litellm), "--config", config.name, "--host", HOST, "--port", "8602"]
            command += ["--num_workers", "1"]
            systems.append(start(stack, "LiteLLM", "instant", 8602, command, ready="/health/liveliness"))
        rounds: dict[str, list[Round]] = {system.name: [] for system in systems}
        for _ in range(arguments.rounds):
            for system in systems:
                rounds[system.name].append(uvloop.run(measure(system, arguments.seconds)))
    print(table(COLUMNS, rows(rounds)))
    if arguments.out:
        arguments.out.write_bytes(msgspec.json.format(msgspec.json.encode(rounds)) + b"\n")


if __name__ == "__main__":
    main()
