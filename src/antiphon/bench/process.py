"""What a server uses, read from Linux's /proc while it is measured: the process and all its descendants."""

import os
from dataclasses import dataclass
from pathlib import Path

from antiphon.core.errors import CallerError


@dataclass(frozen=True, slots=True)
class Usage:
    """Processor time since each process began, and resident memory now."""

    cpu_s: float
    rss_bytes: int


def usage(pid: int) -> Usage:
    """Of that process and its descendants that live now. Raises `CallerError` where there is no such process."""
    stats = _stats()
    if pid not in stats:
        raise CallerError(f"there is no process {pid}")
    family = {pid}
    while grown := {child for child, stat in stats.items() if int(stat[1]) in family} - family:
        family |= grown
    ticks = sum(int(stats[member][11]) + int(stats[member][12]) for member in family)
    pages = sum(int(stats[member][21]) for member in family)
    return Usage(ticks / os.sysconf("SC_CLK_TCK"), pages * os.sysconf("SC_PAGE_SIZE"))


def _stats() -> dict[int, list[str]]:
    """Each process's fields of proc(5) `stat` from the third on; the second may hold spaces and brackets."""
    stats = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stats[int(entry.name)] = (entry / "stat").read_text().rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError):  # it ended while we looked
                continue
    return stats
