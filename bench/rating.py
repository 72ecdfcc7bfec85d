"""How long a statement takes: a ledger of a million entries of one month on the disk, rated by a book with every kind
of rule, on one core.

`python bench/rating.py [--entries 1000000] [--folder DIR]` prints the time to read the sessions, to rate them, and of
the whole statement with costs.
"""

import argparse
import asyncio
import random
import resource
import sqlite3
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from antiphon.metering.pricing.book import Series
from antiphon.metering.pricing.parse import parse_book
from antiphon.metering.rating import rate
from antiphon.metering.statements import Billing, parse_period
from antiphon.stores.sqlite.bills import SqliteBills
from antiphon.stores.sqlite.ledger import SqliteLedger
from antiphon.stores.sqlite.ledger_schema import WRITTEN
from antiphon.stores.sqlite.usage import SqliteUsage

PERIOD = parse_period("2026-11")
HEAD = """
version = "1"
currency = "USD"
from = 2026-01-01
not_charged = ["tts.audio_ms"]
rounding = { mode = "half_up", per = "session" }
"""
PRICES = f"""
book = "list"
{HEAD}
minimum_invoice = "10"

[[price]]
id = "stt-live"
dimension = "stt.audio_ms"
feature = "live"
amount = "0.0077"
per = "minute"
increment = "second"
[[price]]
id = "stt-recording"
dimension = "stt.audio_ms"
feature = "recording"
tiers = [{{ up_to = 3_600_000, amount = "0" }}, {{ up_to = 360_000_000, amount = "0.024" }}, {{ amount = "0.015" }}]
per = "minute"
minimum = 15_000
increment = "second"
[[price]]
id = "redact"
dimension = "stt.audio_ms"
add_on = "redact"
amount = "0.0020"
per = "minute"
[[price]]
id = "llm-input"
dimension = "llm.input_tokens"
amount = "1.25"
per = 1_000_000
[[price]]
id = "llm-output"
dimension = ["llm.output_tokens", "llm.reasoning_tokens"]
amount = "10"
per = 1_000_000
[[price]]
id = "tts"
dimension = "tts.characters"
factor = "1/2"
increment = 1
amount = "0.10"
per = 1_000
"""
COSTS = f"""
book = "costs"
role = "costs"
included = ["redact"]
{HEAD}
[[price]]
id = "hour"
dimension = "stt.audio_ms"
amount = "0.02"
per = "hour"
[[price]]
id = "token"
dimension = ["llm.input_tokens", "llm.output_tokens", "llm.reasoning_tokens"]
amount = "0.30"
per = 1_000_000
[[price]]
id = "character"
dimension = "tts.characters"
amount = "0.000001"
per = 1
"""
# What sessions are: model, feature, dimensions, channels, results and the most of one.
KINDS = (
    ("moonshine-tiny-en", "live", ("stt.audio_ms",), 1, 16, 9_000),
    ("moonshine-tiny-en", "live+redact", ("stt.audio_ms",), 2, 8, 9_000),
    ("whisper-base", "recording", ("stt.audio_ms",), 1, 1, 600_000),
    ("smollm2-135m-instruct", "stream", ("llm.input_tokens", "llm.output_tokens"), 1, 5, 900),
    ("joe", "stream", ("tts.characters", "tts.audio_ms"), 1, 3, 200),
)


def rows(entries: int) -> Iterator[tuple[Any, ...]]:
    """Of sessions that overlap, in the order of writing."""
    chance = random.Random(1)
    month_ms = PERIOD.until_unix_ms - PERIOD.since_unix_ms
    written: list[tuple[int, tuple[Any, ...]]] = []
    while len(written) < entries:
        model, feature, dimensions, channels, results, most = chance.choice(KINDS)
        session = str(uuid.UUID(int=chance.getrandbits(128)))
        at, sequence = PERIOD.since_unix_ms + chance.randrange(month_ms - 600_000), 0
        for _ in range(results):
            for dimension in dimensions:
                for channel in range(channels):
                    fields = (dimension, chance.randrange(1, most), channel, feature, "usage")
                    written.append((at, ("acme", session, sequence, "k1", at, "deepgram", model, *fields)))
                    sequence += 1
            at += chance.randrange(10_000)
        closing_fields = (dimensions[0], 0, 0, feature, "completed")
        written.append((at, ("acme", session, sequence, "k1", at, "deepgram", model, *closing_fields)))
    written.sort()
    for _, row in written[:entries]:
        yield (*row, None, None, "[]", "bench")


async def fill(path: Path, entries: int) -> None:
    await SqliteLedger(path, "bench").close()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executemany(
            f"INSERT INTO entries ({', '.join(WRITTEN)}) VALUES ({', '.join('?' * len(WRITTEN))})", rows(entries)
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, help="on the disk to measure; the system's temporary one if left out")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        path = Path(folder, "ledger.db")
        asyncio.run(fill(path, options.entries))
        prices, costs = (Series([parse_book(text.encode(), "bench")]) for text in (PRICES, COSTS))
        billing = Billing(SqliteUsage(path), SqliteBills(Path(folder, "bills.db")), lambda project: prices, costs)

        begun_s, cpu_s = time.perf_counter(), time.process_time()
        sessions = list(billing.sessions("acme", PERIOD))
        read_s, read_cpu_s = time.perf_counter() - begun_s, time.process_time() - cpu_s
        entries = sum(charge.entries for session in sessions for charge in session.charges)
        begun_s, cpu_s = time.perf_counter(), time.process_time()
        lines = sum(1 for _ in rate(sessions, prices))
        rate_s, rate_cpu_s = time.perf_counter() - begun_s, time.process_time() - cpu_s
        del sessions
        print(f"{entries} entries that count: read in {read_s:.2f} s ({read_cpu_s:.2f} s of processor time)")
        print(f"rated in {rate_s:.2f} s ({rate_cpu_s:.2f} s), {lines} lines")
        for with_costs in (False, True):
            begun_s, cpu_s = time.perf_counter(), time.process_time()
            statement = billing.statement("acme", PERIOD, PERIOD.until_unix_ms, with_costs)
            took_s, took_cpu_s = time.perf_counter() - begun_s, time.process_time() - cpu_s
            summary = f"{len(statement.items)} items, {statement.total_nano} nano, {statement.unrated} without a price"
            print(f"statement{' with costs' if with_costs else ''}: {took_s:.2f} s ({took_cpu_s:.2f} s), {summary}")
        print(f"largest size {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10} MB")


if __name__ == "__main__":
    main()
