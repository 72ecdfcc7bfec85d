"""The resources of a server's process and its descendants, read from Linux's /proc; and our own."""

import asyncio
import os
import resource
import time
from dataclasses import dataclass
from pathlib import Path

from antiphon.bench.measure import Load
from antiphon.core.errors import CallerError

INTERVAL_S = 2


@dataclass(frozen=True, slots=True)
class Usage:
    """Processor time since each process began, and resident memory now."""

    cpu_s: float
    rss_bytes: int


def usage(pid: int) -> Usage:
    """Return the usage of a process and its live descendants. Raises `CallerError` if there is no such process."""
    stats = _stats()
    if pid not in stats:
        raise CallerError(f"process {pid} not found")
    family = {pid}
    while grown := {child for child, stat in stats.items() if int(stat[1]) in family} - family:
        family |= grown
    ticks = sum(int(stats[member][11]) + int(stats[member][12]) for member in family)
    pages = sum(int(stats[member][21]) for member in family)
    return Usage(ticks / os.sysconf("SC_CLK_TCK"), pages * os.sysconf("SC_PAGE_SIZE"))


def _stats() -> dict[int, list[str]]:
    """Return each process's fields of proc(5) `stat` from the third on; the second may contain spaces and brackets."""
    stats = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stats[int(entry.name)] = (entry / "stat").read_text().rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError):  # it ended meanwhile
                continue
    return stats


def own_cpu_s() -> float:
    """Return the processor time of this process, in seconds."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def peak_rss(pid: int) -> int:
    """Watch until cancelled, then return the peak of resident memory."""
    peak = 0
    try:
        while True:
            peak = max(peak, usage(pid).rss_bytes)
            await asyncio.sleep(INTERVAL_S)
    except asyncio.CancelledError:
        return peak


class Watch:
    """Measures from its creation to `stop`. Raises `CallerError` if there is no process `pid`."""

    def __init__(self, pid: int | None) -> None:
        self._pid = pid
        self._before = usage(pid) if pid else None
        self._peak = asyncio.create_task(peak_rss(pid)) if pid else None
        self._own_cpu_s = own_cpu_s()
        self._began_ns = time.monotonic_ns()

    async def stop(self) -> Load:
        wall_s, own_cpu = (time.monotonic_ns() - self._began_ns) / 1e9, own_cpu_s() - self._own_cpu_s
        if not (self._pid and self._before and self._peak):
            return Load(wall_s, own_cpu)
        after = usage(self._pid)
        self._peak.cancel()
        (peak,) = await asyncio.gather(self._peak)
        most = max(peak, after.rss_bytes)
        return Load(wall_s, own_cpu, after.cpu_s - self._before.cpu_s, most, self._before.rss_bytes)
