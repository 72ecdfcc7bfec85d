"""The embedded language engine under each of its settings, and the vendor's pipeline called directly.

Every variant is loaded, warmed up and measured by itself: tokens a second and the median time to the first token of
1, 8 and 100 requests of 64 tokens at once; tokens a second of 8 requests that copy a text; the time to the first token
of a long prompt that came before; the process's memory afterwards; and what the setting costs in quality, the share of
40 greedy answers that are the same as those of the first variant. `--rounds` repeats it all in turns and takes the best
of each figure, so that what else the machine does falls on all alike. Prints a table in Markdown.

    python bench/language.py MODEL_FOLDER_OR_FILE --variants "f16 cache,default,direct" --rounds 2
"""

import argparse
import asyncio
import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from antiphon.core.events import TextDelta
from antiphon.core.ports import EngineCall
from antiphon.core.specs import GenerateSpec, Message, Role, Sampling
from antiphon.engines.openvino import OpenVinoGenerator, OpenVinoSettings
from antiphon.engines.openvino.gguf import model_path

AT_ONCE = (1, 8, 100)
TOKENS = 64
DIRECT = "direct"

VARIANTS = {
    "f16 cache": OpenVinoSettings(kv_cache_precision="f16"),
    "f16 cache, again": OpenVinoSettings(kv_cache_precision="f16"),
    "default": OpenVinoSettings(),
    DIRECT: OpenVinoSettings(),
    "no prefix cache": OpenVinoSettings(prefix_caching=False),
    "prompt lookup 3": OpenVinoSettings(prompt_lookup_tokens=3),
    "prompt lookup 6": OpenVinoSettings(prompt_lookup_tokens=6),
    "eviction over 256 tokens": OpenVinoSettings(eviction_tokens=256, prefix_caching=False),
    "256 tokens a step": OpenVinoSettings(max_batched_tokens=256),
    "2048 tokens a step": OpenVinoSettings(max_batched_tokens=2048),
    "32 requests a step": OpenVinoSettings(max_sequences=32),
    "no split fuse": OpenVinoSettings(split_fuse=False, max_batched_tokens=8192),
    "1 thread": OpenVinoSettings(threads=1),
}

_SUBJECTS = (
    *("the sea", "a bridge", "winter", "bread", "a lighthouse", "copper", "the moon", "a violin", "rice", "trains"),
    *("Mozart", "glass", "a desert", "tea", "the heart", "maps", "wool", "a volcano", "chess", "bees"),
)
PROMPTS = tuple(
    form.format(subject)
    for subject in _SUBJECTS
    for form in ("What is {}?", "Write one sentence about {} for a child.")
)
TEXT = " ".join(
    f"In the year {1900 + n}, the {_SUBJECTS[n % 20]} company of harbour {n} sold {n * 37 % 100} crates of goods."
    for n in range(12)
)


@dataclass(slots=True)
class Figures:
    """Of one variant, the best of all rounds."""

    rates: dict[int, float] = field(default_factory=dict)
    first_ms: dict[int, float] = field(default_factory=dict)
    copy_rate: float = 0.0
    repeated_ms: float = float("inf")
    rss_mb: int = 0
    answers: tuple[str, ...] = ()

    def note(self, at_once: int, rate: float, first_ms: float) -> None:
        self.rates[at_once] = max(rate, self.rates.get(at_once, 0.0))
        self.first_ms[at_once] = min(first_ms, self.first_ms.get(at_once, float("inf")))


def chat(text: str, tokens: int = TOKENS) -> GenerateSpec:
    return GenerateSpec("m", (Message(Role.USER, text),), sampling=Sampling(max_tokens=tokens, temperature=0))


@dataclass(frozen=True, slots=True)
class Answer:
    text: str
    tokens: int
    first_ms: float


async def ask(engine: OpenVinoGenerator, spec: GenerateSpec) -> Answer:
    begun = time.perf_counter()
    text, tokens, first_ms = [], 0, 0.0
    async for batch in engine.generate(spec, EngineCall("bench")):
        for event in batch:
            if isinstance(event, TextDelta):
                first_ms = first_ms or (time.perf_counter() - begun) * 1000
                text.append(event.text)
                tokens += event.tokens
    return Answer("".join(text), tokens, first_ms)


async def together(engine: OpenVinoGenerator, specs: Sequence[GenerateSpec]) -> tuple[list[Answer], float]:
    """What came of all at once, and tokens per second."""
    begun = time.perf_counter()
    answers = await asyncio.gather(*(ask(engine, spec) for spec in specs))
    return answers, sum(one.tokens for one in answers) / (time.perf_counter() - begun)


async def measure(path: Path, settings: OpenVinoSettings, figures: Figures, salt: int) -> None:
    engine = await OpenVinoGenerator.start(path, settings)
    try:
        await together(engine, [chat(f"Warm up {n}.", 8) for n in range(8)])
        answers, _ = await together(engine, [chat(prompt, 48) for prompt in PROMPTS])
        figures.answers = tuple(one.text for one in answers)
        for at_once in AT_ONCE:
            specs = [chat(f"{salt}.{at_once}.{n}: tell me about {_SUBJECTS[n % 20]}.") for n in range(at_once)]
            answers, rate = await together(engine, specs)
            figures.note(at_once, rate, statistics.median(one.first_ms for one in answers))
        copies = [chat(f"{salt}.{n}: repeat this text word for word: {TEXT}", 128) for n in range(8)]
        _, rate = await together(engine, copies)
        figures.copy_rate = max(rate, figures.copy_rate)
        long = chat(f"{salt}: {TEXT} {TEXT} {TEXT} What was sold?", 2)
        await ask(engine, long)
        figures.repeated_ms = min(figures.repeated_ms, (await ask(engine, long)).first_ms)
        figures.rss_mb = max(figures.rss_mb, engine.stats().rss_bytes >> 20)
    finally:
        await engine.close()


# -- the pipeline itself -----------------------------------------------------------------------------------------------


def directly(path: Path, salt: int) -> list[tuple[int, float, float]]:
    """At once, tokens per second, median time to the first token: the vendor's pipeline and nothing else."""
    import openvino_genai as genai

    defaults = OpenVinoSettings()
    scheduling = genai.SchedulerConfig()
    scheduling.cache_size = defaults.kv_cache_gb
    scheduling.max_num_seqs = defaults.max_sequences
    scheduling.max_num_batched_tokens = defaults.max_batched_tokens
    scheduling.enable_prefix_caching = defaults.prefix_caching
    properties = {"KV_CACHE_PRECISION": defaults.kv_cache_precision}
    pipeline = genai.ContinuousBatchingPipeline(path, scheduling, "CPU", properties)
    tokenizer = pipeline.get_tokenizer()

    def run(texts: Sequence[str], tokens: int) -> tuple[float, float]:
        begun = time.perf_counter()
        handles: list[Any] = []
        for number, text in enumerate(texts):
            prompt = tokenizer.apply_chat_template([{"role": "user", "content": text}], True)
            config = genai.GenerationConfig(max_new_tokens=tokens)
            handles.append(pipeline.add_request(number, prompt, config))
        first: dict[int, float] = {}
        count = 0
        while pipeline.has_non_finished_requests():
            pipeline.step()
            for number, handle in enumerate(handles):
                if handle.can_read():
                    (output,) = handle.read().values()
                    count += len(output.generated_ids)
                    first.setdefault(number, (time.perf_counter() - begun) * 1000)
        return count / (time.perf_counter() - begun), statistics.median(first.values())

    run([f"Warm up {n}." for n in range(8)], 8)
    measured = []
    for at_once in AT_ONCE:
        texts = [f"{salt}.{at_once}.{n}: tell me about {_SUBJECTS[n % 20]}." for n in range(at_once)]
        measured.append((at_once, *run(texts, TOKENS)))
    return measured


def measure_directly(path: Path, figures: Figures, salt: int) -> None:
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        for measured in pool.submit(directly, model_path(path), salt).result():
            figures.note(*measured)


# -- the table ---------------------------------------------------------------------------------------------------------


def table(found: dict[str, Figures]) -> str:
    heads = [f"tok/s at {n}" for n in AT_ONCE] + [f"TTFT P50 ms at {n}" for n in AT_ONCE]
    lines = [" | ".join(["| setting", *heads, "tok/s copying", "TTFT ms, prompt again", "RSS MB", "same answers |"])]
    lines.append("|---" * (len(heads) + 5) + "|")
    reference = next(iter(found.values())).answers
    for name, figures in found.items():
        same = sum(a == b for a, b in zip(figures.answers, reference, strict=False))
        cells = [name, *(f"{figures.rates[n]:.0f}" for n in AT_ONCE), *(f"{figures.first_ms[n]:.0f}" for n in AT_ONCE)]
        rest = [
            f"{figures.copy_rate:.0f}",
            f"{figures.repeated_ms:.0f}",
            f"{figures.rss_mb}",
            f"{same} of {len(PROMPTS)}",
        ]
        cells += rest if figures.answers else ["-"] * len(rest)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--variants", default=",".join(VARIANTS).replace("f16 cache, again", "f16 cache; again"))
    parser.add_argument("--rounds", type=int, default=1)
    arguments = parser.parse_args()
    names = [name.strip().replace(";", ",") for name in arguments.variants.split(",")]
    found = {name: Figures() for name in names}
    for salt in range(arguments.rounds):
        for name in names:
            if name == DIRECT:
                measure_directly(arguments.model, found[name], salt)
            else:
                asyncio.run(measure(arguments.model, replace(VARIANTS[name]), found[name], salt))
            print(f"round {salt + 1}: {name}", flush=True)
    print(table(found))


if __name__ == "__main__":
    main()
