"""Antiphon's embedded language model against vLLM on the same weights, and against its own pipeline without a server.

All of them answer the same questions, greedily, in at most 64 tokens; what is counted is what was really written. The
systems take turns in every round, so that what else the machine does falls on all alike; the others idle meanwhile.
Every round asks what no round asked before, so that no cache knows it. Both servers are called by the same client, over
HTTP, in streams. The pipeline is called as directly as it can be: in a process of its own, by a loop that does nothing
else. The table shows medians over the rounds, the picture the round in the middle by tokens a second.

    python bench/chat_compare.py --model models/smollm2-135m-instruct/model.gguf --vllm vllm-venv/bin/vllm \\
        --vllm-model smollm2-folder --out chat.json --plot chat.png

The weights of vLLM are the GGUF's, written by transformers as a folder in bfloat16.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import msgspec
import uvloop

from antiphon.bench import chat, generations, plot, process
from antiphon.bench.completions import Messages
from antiphon.bench.generations import OBJECTIVES, Answer, ChatLevel
from antiphon.bench.measure import Load
from antiphon.engines.openvino import OpenVinoSettings
from antiphon.engines.openvino.converted import converted
from serving import HOST, KEY, System, start, start_antiphon, table

TOKENS = 64
DIRECT = "pipeline alone"
WHO = ("fox", "baker", "sailor", "robot", "queen", "painter", "farmer", "dragon", "pilot", "miller")
WHAT = ("lost a key", "found a map", "built a bridge", "missed a train", "won a race")
WHERE = ("in winter", "by the sea", "at night", "on a hill", "in a big city")
ANTIPHON = """
[models]
smollm2 = { engines = ["smollm2"] }
[engines.smollm2]
kind = "openvino"
model = "MODEL"
weights = "int8"
"""


def prompts(count: int, turn: int) -> list[Messages]:
    """Stories that nobody has asked for in another turn, so long that no answer ends before its bound."""
    stories = [f"{who} that {what} {where}" for where in WHERE for what in WHAT for who in WHO]
    return [
        [{"role": "user", "content": f"Story {turn}-{number}. Tell a very long story about a {story}."}]
        for number, story in enumerate((stories * (count // len(stories) + 1))[:count])
    ]


def measure(system: System, callers: int, count: int, turn: int) -> ChatLevel:
    target = chat.Target(system.url, KEY, system.model, TOKENS, extra={"temperature": 0})
    run = chat.run_level(target, prompts(count, turn), count, concurrency=callers, pid=system.pid)
    level = uvloop.run(run)
    if level.failures or level.refused:
        sys.exit(f"{system.name}: {level.refused} refused, failures: {level.failures}")
    return level


def measure_direct(model: Path, callers: int, count: int, turn: int) -> ChatLevel:
    """In a process of its own, which measures itself."""
    command = [sys.executable, __file__, "--model", str(model), "--direct", f"{callers},{count},{turn}"]
    output = subprocess.run(command, check=True, capture_output=True).stdout
    return msgspec.json.decode(output.splitlines()[-1], type=ChatLevel)


def direct(model: Path, callers: int, count: int, turn: int) -> ChatLevel:
    """The pipeline as it is, with the weights that Antiphon runs, `callers` requests in it at a time. Its clock starts
    when it is loaded and warm.
    """
    import openvino_genai as genai

    scheduling = genai.SchedulerConfig()
    scheduling.cache_size = 1
    scheduling.enable_prefix_caching = True
    scheduling.max_num_batched_tokens = 512
    scheduling.max_num_seqs = 128
    properties = {"KV_CACHE_PRECISION": OpenVinoSettings().kv_cache_precision}
    folder = converted(model, Path(tempfile.gettempdir()) / "antiphon-bench-converted")
    pipeline = genai.ContinuousBatchingPipeline(folder, genai.Tokenizer(model), scheduling, "CPU", **properties)
    tokenizer = pipeline.get_tokenizer()
    config = genai.GenerationConfig(max_new_tokens=TOKENS, do_sample=False)
    config.eos_token_id = pipeline.get_config().eos_token_id
    config.stop_token_ids = pipeline.get_config().stop_token_ids
    warm = pipeline.add_request(count, "a", config)
    while pipeline.has_non_finished_requests():
        pipeline.step()
    del warm
    texts = [tokenizer.apply_chat_template(list(messages), True) for messages in prompts(count, turn)]
    waiting = list(enumerate(texts))
    running: list[tuple[Any, Answer]] = []
    ended: list[Answer] = []
    begun_cpu, begun_ns = process.own_cpu_s(), time.monotonic_ns()
    while waiting or running:
        while waiting and len(running) < callers:
            number, prompt = waiting.pop(0)
            now_ns = time.monotonic_ns() - begun_ns
            tokens = tokenizer.encode(prompt, add_special_tokens=False).input_ids
            running.append((pipeline.add_request(number, tokens, config), Answer(now_ns, now_ns, 0, None, 0, 0)))
        pipeline.step()
        now_ns, still = time.monotonic_ns() - begun_ns, []
        for handle, answer in running:
            if handle.can_read():
                (output,) = handle.read().values()
                first_ns = now_ns if answer.first_ns is None else answer.first_ns
                tokens_so_far = (answer.reported or 0) + len(output.generated_ids)
                answer = replace(answer, first_ns=first_ns, last_ns=now_ns, reported=tokens_so_far)
                if output.finish_reason != genai.GenerationFinishReason.NONE:
                    ended.append(answer)
                    continue
            still.append((handle, answer))
        running = still
    cpu_s = process.own_cpu_s() - begun_cpu
    used = Load((time.monotonic_ns() - begun_ns) / 1e9, 0.0, cpu_s, process.usage(os.getpid()).rss_bytes)
    return generations.level(ended, used, OBJECTIVES, concurrency=callers, rate=None)


def rows(name: str, callers: int, rounds: list[ChatLevel]) -> list[str]:
    def middle(pick: str, part: str = "") -> float:
        found = (getattr(level, pick) for level in rounds)
        return float(median((getattr(value, part) if part else value) or 0.0 for value in found))

    cells = [f"{middle('tokens'):.0f}", f"{middle('tokens_per_s'):,.0f}"]
    cells += [f"{middle('ttft', 'p50'):.0f} / {middle('ttft', 'p95'):.0f}", f"{middle('tpot', 'p50'):.1f}"]
    cells += [f"{middle('server_cpu_percent'):.0f}", f"{middle('client_cpu_percent'):.0f}"]
    return [name, str(callers), *cells, f"{middle('server_rss_mb'):.0f}"]


COLUMNS = (
    *("system", "at once", "tokens", "tokens/s", "TTFT ms P50 / P95", "TPOT ms P50"),
    *("server CPU %", "client CPU %", "RSS MB"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="the GGUF file")
    parser.add_argument("--vllm", type=Path, help="the command in its virtual environment")
    parser.add_argument("--vllm-model", type=Path, help="the folder with the same weights")
    parser.add_argument("--levels", default="1:6,8:40,100:100", help="callers:requests, with commas between")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--direct", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.direct:
        callers, count, turn = map(int, arguments.direct.split(","))
        print(msgspec.json.encode(direct(arguments.model, callers, count, turn)).decode())
        return
    levels = [tuple(map(int, level.split(":"))) for level in arguments.levels.split(",")]
    measured: dict[str, dict[int, list[ChatLevel]]] = {}
    with ExitStack() as stack:
        config = ANTIPHON.replace("MODEL", str(arguments.model.resolve()))
        systems = [start_antiphon(stack, "smollm2", 8610, config)]
        if arguments.vllm:
            command = [str(arguments.vllm), "serve", str(arguments.vllm_model), "--served-model-name", "smollm2"]
            command += ["--host", HOST, "--port", "8611", "--dtype", "bfloat16", "--max-model-len", "2048"]
            environment = {"VLLM_CPU_KVCACHE_SPACE": "2", "VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1"}
            systems.append(start(stack, "vLLM", "smollm2", 8611, command, environment, patience_s=600))
        for system in systems:
            measure(system, 8, 16, 0)
        for turn, (callers, count) in enumerate([level for level in levels for _ in range(arguments.rounds)], start=1):
            for system in systems:
                level = measure(system, callers, count, turn)
                measured.setdefault(system.name, {}).setdefault(callers, []).append(level)
            level = measure_direct(arguments.model, callers, count, turn)
            measured.setdefault(DIRECT, {}).setdefault(callers, []).append(level)
    shown = [rows(name, callers, found[callers]) for callers, _ in levels for name, found in measured.items()]
    print(table(COLUMNS, shown))
    if arguments.out:
        arguments.out.write_bytes(msgspec.json.format(msgspec.json.encode(measured)) + b"\n")
    if arguments.plot:
        middle = {
            name: [sorted(of_one, key=lambda level: level.tokens_per_s)[len(of_one) // 2] for of_one in found.values()]
            for name, found in measured.items()
        }
        plot.draw_chat(middle, OBJECTIVES, arguments.plot)


if __name__ == "__main__":
    main()
