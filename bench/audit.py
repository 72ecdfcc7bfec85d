"""How many records an audit log takes, in a real ledger on a real disk.

`python bench/audit.py [--records 50000] [--folder DIR]` prints how long a call of `record` takes, how many records a
second become durable with nothing else to write, what they cost beside entries (appends with and without a record each,
in turns), how large one is on the disk, and how many a second are verified.
"""

import argparse
import asyncio
import tempfile
import time
import uuid
from pathlib import Path

from antiphon.core.audit import Action, AuditRecord, Outcome
from antiphon.core.entry import Entry
from antiphon.core.stores import MAX_RECORDS
from antiphon.core.usage import Dimension, Quantity
from antiphon.stores.sqlite.audit import SqliteTrail
from antiphon.stores.sqlite.ledger import SqliteLedger
from antiphon.trust.checkpoint import ED25519, Verifier
from antiphon.trust.verifying import verify

CALLERS, TURNS = 64, 8


def new_record() -> AuditRecord:
    return AuditRecord(
        *(time.time_ns() // 1_000_000, Action.ACCESS, Outcome.ALLOWED, "k1abcdef", "default", "/v1/chat/completions"),
        *("", "192.0.2.0/24", str(uuid.uuid4()), "4f880b93ef78"),
    )


async def fill(ledger: SqliteLedger, records: int) -> tuple[float, float]:
    """Records a second, and microseconds that a call took, with room for all that waits."""
    batch = [new_record() for _ in range(records)]
    begun_ns, called_ns = time.perf_counter_ns(), 0
    for number, record in enumerate(batch):
        at_ns = time.perf_counter_ns()
        ledger.record(record)
        called_ns += time.perf_counter_ns() - at_ns
        if number % (MAX_RECORDS // 2) == 0:
            await ledger.flush()
    await ledger.flush()
    return records / ((time.perf_counter_ns() - begun_ns) / 1e9), called_ns / records / 1e3


async def append(ledger: SqliteLedger, recorded: bool, turn: int) -> float:
    """Entries a second, of callers that each append one at a time."""

    async def call() -> None:
        session = str(uuid.uuid4())
        for sequence in range(50):
            if recorded:
                ledger.record(new_record())
            quantity = Quantity(Dimension.STT_AUDIO_MS, 1_000)
            fields = {"project": "default", "key_id": "k1", "session": session, "sequence": sequence}
            await ledger.append(
                [Entry(**fields, at_unix_ms=turn, surface="deepgram", model="tiny", quantity=quantity)]  # type: ignore[arg-type]
            )

    begun_ns = time.perf_counter_ns()
    await asyncio.gather(*(call() for _ in range(CALLERS)))
    return 50 * CALLERS / ((time.perf_counter_ns() - begun_ns) / 1e9)


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=50_000)
    parser.add_argument("--folder", type=Path, help="on the disk to measure; the system's temporary one if left out")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        path = Path(folder) / "ledger.db"
        ledger = SqliteLedger(path, "bench")
        rate, called_us = await fill(ledger, options.records)
        print(f"{rate:8.0f} records/s durable; a call takes {called_us:.1f} us")
        await ledger.close()
        print(f"{path.stat().st_size / options.records:8.0f} bytes a record on the disk")
        begun_ns = time.perf_counter_ns()
        await verify(SqliteTrail(path), [], Verifier("bench", ED25519, bytes(32)))
        print(f"{options.records / ((time.perf_counter_ns() - begun_ns) / 1e9):8.0f} records/s verified")
        ledger = SqliteLedger(path, "bench")
        rates: dict[bool, list[float]] = {False: [], True: []}
        for turn in range(TURNS):
            for recorded in (False, True):
                rates[recorded].append(await append(ledger, recorded, turn))
        await ledger.close()
    for recorded, found in rates.items():
        middle = sorted(found)[TURNS // 2]
        print(f"{middle:8.0f} entries/s {'with a record each' if recorded else 'alone'} (P50 of {TURNS} turns)")


if __name__ == "__main__":
    asyncio.run(main())
