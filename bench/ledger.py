"""How fast usage becomes durable: callers that each append one entry at a time, or note one token, in a real ledger on
a real disk.

`python bench/ledger.py [--callers 64] [--entries 200] [--folder DIR]` prints entries per second and the latency of an
append, at 1 caller and at that many, and the same of notes.
"""

import argparse
import asyncio
import itertools
import tempfile
import time
import uuid
from pathlib import Path

from antiphon.core.entry import Entry
from antiphon.core.usage import Dimension, Quantity
from antiphon.stores.sqlite.ledger import SqliteLedger


async def measure(folder: Path, callers: int, entries: int, noted: bool) -> str:
    latencies_ns: list[int] = []
    ledger = SqliteLedger(folder / f"{callers}-{noted}.db", "bench")

    async def call() -> None:
        session = str(uuid.uuid4())
        for sequence in range(entries):
            entry = Entry(
                project="default",
                key_id="k1",
                session=session,
                sequence=sequence,
                at_unix_ms=time.time_ns() // 1_000_000,
                surface="deepgram",
                model="moonshine-tiny-en",
                quantity=Quantity(Dimension.STT_AUDIO_MS, 1_000),
            )
            begun_ns = time.perf_counter_ns()
            await (ledger.note([(entry, sequence)]) if noted else ledger.append([entry]))
            latencies_ns.append(time.perf_counter_ns() - begun_ns)

    begun_ns = time.perf_counter_ns()
    await asyncio.gather(*(call() for _ in range(callers)))
    took_s = (time.perf_counter_ns() - begun_ns) / 1e9
    await ledger.close()
    latencies_ns.sort()
    p50, p99 = (latencies_ns[int(len(latencies_ns) * share)] / 1e6 for share in (0.5, 0.99))
    unit = "notes" if noted else "entries"
    return f"{callers:4} callers: {len(latencies_ns) / took_s:7.0f} {unit}/s, P50 {p50:.2f} ms, P99 {p99:.2f} ms"


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--callers", type=int, default=64)
    parser.add_argument("--entries", type=int, default=200, help="by each caller")
    parser.add_argument("--folder", type=Path, help="on the disk to measure; the system's temporary one if left out")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        for callers, noted in itertools.product((1, options.callers), (False, True)):
            print(await measure(Path(folder), callers, options.entries, noted))


if __name__ == "__main__":
    asyncio.run(main())
