"""How fast the speech engine is by itself, without a server: the yardstick of what a server can reach.

`python bench/engine.py MOONSHINE_DIR CLIP.wav...` (16 kHz mono int16; the folder is `antiphon models path
moonshine-tiny-en`) prints, for one thread and two, seconds of audio recognised per second for batches of 1 to 32, with
and without drafts; what a stream's growing utterance costs; and what single calls cost. `--references FILE` (tab
separated: file, text) adds the word error rate, alone and in batches.
"""

import argparse
import csv
import json
import re
import threading
import time
import wave
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from antiphon.core.ports import Hypothesis, Utterance
from antiphon.engines.moonshine import Moonshine

RATE_HZ = 16_000
BATCHES = (1, 2, 4, 8, 16, 32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("clips", type=Path, nargs="+")
    parser.add_argument("--references", type=Path)
    parser.add_argument("--seconds", type=float, default=3.0, help="how long each figure is measured")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()

    begin = time.perf_counter()
    engine = Moonshine(options.model)
    report: dict[str, object] = {"load_s": round(time.perf_counter() - begin, 2)}
    clips = {path.name: read(path) for path in options.clips}
    if options.references:
        report["wer"] = word_error_rates(engine, clips, options.references)
    report["throughput"] = throughput(engine, list(clips.values()), options.seconds)
    report["calls_ms"] = calls(engine, b"".join(clips.values()))
    for name, table in report.items():
        print(name, json.dumps(table, indent=2))
    if options.json:
        options.json.write_text(json.dumps(report, indent=2))


def read(path: Path) -> bytes:
    with wave.open(str(path)) as file:
        if (file.getframerate(), file.getnchannels(), file.getsampwidth()) != (RATE_HZ, 1, 2):
            raise SystemExit(f"{path.name} is not 16 kHz mono int16")
        frames: bytes = file.readframes(file.getnframes())
        return frames


def growing(clip: bytes, every_ms: int = 1000) -> list[bytes]:
    """What a stream would ask to recognise while the clip is spoken."""
    step = 32 * every_ms
    return [clip[:end] for end in [*range(step, len(clip), step), len(clip)]]


def throughput(engine: Moonshine, clips: list[bytes], seconds: float) -> dict[str, dict[str, float]]:
    """Seconds of audio recognised per second: whole clips, and every growing piece of them with and without drafts.

    Rows of similar length share a batch, as the scheduler would have it.
    """
    whole = [Utterance(clip) for clip in clips]
    streamed, drafted = [], []
    for clip in clips:
        draft: tuple[int, ...] = ()
        for piece in growing(clip):
            streamed.append(Utterance(piece))
            drafted.append(Utterance(piece, draft))
            draft = engine.recognise([streamed[-1]])[0].tokens
    kinds = {"whole clips": whole, "growing": streamed, "growing, with drafts": drafted}
    return {
        f"{kind}, {threads} thread{'s' * (threads > 1)}": {
            f"batch {size}": round(_rate(engine, rows, size, threads, seconds), 1) for size in BATCHES
        }
        for kind, rows in kinds.items()
        for threads in (1, 2)
    }


def _rate(engine: Moonshine, rows: Sequence[Utterance], size: int, threads: int, seconds: float) -> float:
    ordered = sorted(rows, key=lambda row: len(row.pcm))
    while len(ordered) < size:
        ordered = sorted([*ordered, *ordered], key=lambda row: len(row.pcm))
    batches = [ordered[at : at + size] for at in range(0, len(ordered), size)]
    turn = iter(range(1_000_000))
    done = [0] * threads
    end = time.perf_counter() + seconds

    def work(thread: int) -> None:
        while time.perf_counter() < end:
            batch = batches[next(turn) % len(batches)]
            engine.recognise(batch)
            done[thread] += sum(len(row.pcm) for row in batch)

    workers = [threading.Thread(target=work, args=(thread,)) for thread in range(threads)]
    begin = time.perf_counter()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return sum(done) / 2 / RATE_HZ / (time.perf_counter() - begin)


def calls(engine: Moonshine, speech: bytes) -> dict[str, dict[str, float]]:
    """Milliseconds a row, median of several calls: without a draft, and with the right one (times included)."""
    table: dict[str, dict[str, float]] = {}
    for seconds in (0.3, 1.0, 4.0, 10.0):
        length = int(seconds * RATE_HZ) * 2
        pcm = speech[:length]
        tokens = engine.recognise([Utterance(pcm)])[0].tokens
        for size in (1, 8, 16, 32):
            rows = {
                "no draft": Utterance(pcm),
                "draft": Utterance(pcm, tokens),
                "draft, timed": Utterance(pcm, tokens, timed=True),
            }
            cost = {kind: _milliseconds(engine, [row] * size) for kind, row in rows.items()}
            table[f"{seconds} s, batch {size}"] = {kind: round(value / size, 2) for kind, value in cost.items()}
    return table


def _milliseconds(engine: Moonshine, rows: Sequence[Utterance], repeats: int = 5) -> float:
    taken = []
    for _ in range(repeats):
        begin = time.perf_counter()
        engine.recognise(rows)
        taken.append(time.perf_counter() - begin)
    return 1000 * median(taken)


def word_error_rates(engine: Moonshine, clips: dict[str, bytes], references: Path) -> dict[str, float]:
    with references.open(newline="") as file:
        transcripts = {row["file"]: _words(row["text"]) for row in csv.DictReader(file, delimiter="\t")}
    named = [name for name in clips if transcripts.get(name)]
    if not named:
        raise SystemExit("no clip has a reference")
    rows = [Utterance(clips[name]) for name in named]
    alone = [engine.recognise([row])[0] for row in rows]
    batch = engine.recognise(rows)
    total = sum(len(transcripts[name]) for name in named)

    def rate(hypotheses: Sequence[Hypothesis]) -> float:
        wrong = sum(_edits(_words(row.text), transcripts[name]) for row, name in zip(hypotheses, named, strict=True))
        return round(100 * wrong / total, 2)

    same = sum(a.text == b.text for a, b in zip(alone, batch, strict=True))
    return {"alone_percent": rate(alone), "batch_percent": rate(batch), "same_text": same, "clips": len(named)}


def _words(text: str) -> list[str]:
    spelled = text.lower().replace("mr.", "mister").replace("-", " ")
    return re.sub(r"[^a-z0-9' ]", "", spelled).split()


def _edits(hypothesis: Sequence[str], reference: Sequence[str]) -> int:
    row = list(range(len(reference) + 1))
    for i, word in enumerate(hypothesis, 1):
        diagonal, row[0] = row[0], i
        for j, other in enumerate(reference, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (word != other))
    return row[-1]


if __name__ == "__main__":
    main()
