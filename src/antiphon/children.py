"""Processes of ours: how each one is started, and how the server knows that one is stuck.

A child gets an environment of its own, made from the list below, so that no key of the server's is in it; "/" to live
in, and a module path without the directory that the server was started in; a session of its own, so that it and what
it has forked can be killed together; and no descriptor but those that it is given. What is settled once in the server
(`without_core_dumps`) is inherited.
"""

import os
import resource
import sys
from contextlib import suppress
from typing import Any

LOOK_S = 1.0  # between two looks at a process that owes an answer
STILL_LOOKS = 5  # in a row without a word and without processor time: it is stuck
SILENT_LOOKS = 300  # in a row without a word, busy or not: nobody waits longer
BUSY_S = 0.02  # of processor time, two of the kernel's ticks
NICENESS = 5  # of engines, which take all the processors there are; the server, which lets in and delivers, goes first

_ALLOWED = (
    *("LANG", "LC_ALL", "LC_CTYPE", "PATH", "TMPDIR", "TZ"),
    *("LD_LIBRARY_PATH", "LD_PRELOAD", "GLIBC_TUNABLES", "MALLOC_ARENA_MAX", "MALLOC_TRIM_THRESHOLD_"),
    *("OMP_NUM_THREADS", "OMP_PLACES", "OMP_PROC_BIND", "OMP_WAIT_POLICY", "KMP_AFFINITY", "KMP_BLOCKTIME"),
    *("ONEDNN_MAX_CPU_ISA", "OPENVINO_LOG_LEVEL"),
)
_TICKS = os.sysconf("SC_CLK_TCK")


def command(module: str, *arguments: str) -> list[str]:
    """What runs a module in an interpreter that finds none in the directory where it is started."""
    return [sys.executable, "-P", "-m", module, *arguments]


def apart(*also: str) -> dict[str, Any]:
    """How `subprocess`, or asyncio's, starts a process of ours. Of the environment it gets `also` what is named."""
    own = {
        "HOME": "/",  # nobody's, and no user database is asked for another
        "PYTHONPATH": os.pathsep.join(os.path.abspath(path) for path in sys.path if path),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    passed = {name: os.environ[name] for name in (*_ALLOWED, *also) if name in os.environ}
    return {"env": own | passed, "cwd": "/", "start_new_session": True, "close_fds": True}


def without_core_dumps() -> None:
    """This process leaves no core file, nor does any that it starts: what callers say would be in it."""
    # A core size of 1, not 0: only 1 also stops cores that the kernel pipes to a handler (core(5)).
    _, most = resource.getrlimit(resource.RLIMIT_CORE)
    if most == resource.RLIM_INFINITY or most >= 1:
        resource.setrlimit(resource.RLIMIT_CORE, (1, 1))


def be_nice(niceness: int) -> None:
    """Lower the priority of this process: among all threads, and as a session among all sessions.

    Where the kernel groups processes by session (sched(7), autogroup: the default of most distributions), `nice` counts
    only within a session, and each child has its own.
    """
    os.nice(niceness)
    with suppress(OSError), open("/proc/self/autogroup", "w") as autogroup:
        autogroup.write(str(niceness))


def processor_s(pid: int | None) -> float:
    """What a process has used of the processors, all its threads together; 0 for one that is not there."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:
            fields = stat.read().rpartition(b")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / _TICKS


def resident_bytes(pid: int | None) -> int:
    """The memory of a process; 0 for one that is not there."""
    try:
        with open(f"/proc/{pid}/statm", "rb") as statm:
            return int(statm.read().split()[1]) * resource.getpagesize()
    except OSError:
        return 0


class Pulse:
    """Whether a process that owes an answer is stuck, from what can be seen of it at each look, `LOOK_S` apart.

    One that is stopped, or waits for what never comes, neither says a word nor uses a processor. One that computes
    uses it, however long it says nothing. Looks are counted, not seconds: those that a server could not make, because
    it was itself held up, count for nothing.
    """

    __slots__ = ("_busy_s", "_silent_looks", "_still_looks", "most_looks")

    def __init__(self, most_looks: int = SILENT_LOOKS) -> None:
        self.most_looks = most_looks
        self._silent_looks = self._still_looks = 0
        self._busy_s = 0.0

    @property
    def silent(self) -> bool:
        """Whether nothing was heard since the last look."""
        return self._silent_looks > 0

    @property
    def stuck(self) -> bool:
        return self._still_looks >= STILL_LOOKS or self._silent_looks >= self.most_looks

    def heard(self) -> None:
        """It has said something, or owes an answer only from now on."""
        self._silent_looks = self._still_looks = 0

    def look(self, processor_s: float) -> None:
        """`processor_s` is what it has used in all."""
        self._silent_looks += 1
        self._still_looks += 1
        if processor_s - self._busy_s >= BUSY_S:
            self._still_looks = 0
            self._busy_s = processor_s
