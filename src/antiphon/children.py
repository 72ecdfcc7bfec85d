"""Child processes: how each one is started, and how the server notices that one is stuck.

A child gets an environment of its own from the list below, so that it contains no key of the server's; "/" as its
directory, and a module path without the directory that the server was started in; a session of its own, so that it and
its own children can be killed together; and no descriptor but those it is given. Settings of the server
(`without_core_dumps`) are inherited.
"""

import os
import resource
import sys
from contextlib import suppress
from typing import Any

LOOK_S = 1.0  # between two checks of a process that owes an answer
STILL_LOOKS = 5  # in a row without an answer, and neither with processor time nor at work: it is stuck
SILENT_LOOKS = 300  # in a row without an answer, busy or not: it counts as stuck
BUSY_S = 0.02  # of processor time, two of the kernel's ticks
NICENESS = 5  # of engines, which use all processors; the server, which admits and delivers, goes first

_ALLOWED = (
    *("LANG", "LC_ALL", "LC_CTYPE", "PATH", "TMPDIR", "TZ"),
    *("LD_LIBRARY_PATH", "LD_PRELOAD", "GLIBC_TUNABLES", "MALLOC_ARENA_MAX", "MALLOC_TRIM_THRESHOLD_"),
    *("OMP_NUM_THREADS", "OMP_PLACES", "OMP_PROC_BIND", "OMP_WAIT_POLICY", "KMP_AFFINITY", "KMP_BLOCKTIME"),
    *("ONEDNN_MAX_CPU_ISA", "OPENVINO_LOG_LEVEL"),
)
_TICKS = os.sysconf("SC_CLK_TCK")


def command(module: str, *arguments: str) -> list[str]:
    """Return the command that runs a module, without finding modules in its working directory."""
    return [sys.executable, "-P", "-m", module, *arguments]


def apart(*also: str) -> dict[str, Any]:
    """Return the arguments with which `subprocess`, or asyncio's, starts a child. `also` names more of the environment
    to pass.
    """
    own = {
        "HOME": "/",  # nobody's, and no user database is asked for another
        "PYTHONPATH": os.pathsep.join(os.path.abspath(path) for path in sys.path if path),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    passed = {name: os.environ[name] for name in (*_ALLOWED, *also) if name in os.environ}
    return {"env": own | passed, "cwd": "/", "start_new_session": True, "close_fds": True}


def without_core_dumps() -> None:
    """Forbid core files of this process and its children: callers' content would be in them."""
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
    """Return the processor time of a process and all its threads, in seconds; 0 if there is none."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:
            fields = stat.read().rpartition(b")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / _TICKS


def at_work(pid: int | None) -> bool:
    """Return whether a thread of a process is runnable (R), although the machine may give it no time, or waits for a
    disk (D). No thread of a stopped process is, and none that sleeps.
    """
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return False
    return any(_state(f"/proc/{pid}/task/{thread}/stat") in (b"R", b"D") for thread in threads)


def _state(stat: str) -> bytes:
    try:
        with open(stat, "rb") as file:
            return file.read().rpartition(b")")[2].split()[0]
    except OSError:  # the thread has ended
        return b""


def resident_bytes(pid: int | None) -> int:
    """Return the resident memory of a process; 0 if there is none."""
    try:
        with open(f"/proc/{pid}/statm", "rb") as statm:
            return int(statm.read().split()[1]) * resource.getpagesize()
    except OSError:
        return 0


class Pulse:
    """Whether a process that owes an answer is stuck, judged by looks `LOOK_S` apart.

    A stopped process, or one that waits for something that never comes, neither answers nor uses a processor. One that
    computes uses it, however long it is silent; one that waits for a disk or for a processor is at work, however busy
    the machine is. Looks are counted, not seconds: those that the server missed because it was itself held up do not
    count.
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

    def reset(self) -> None:
        """Begin to count anew: an answer came, or one is owed only from now on."""
        self._silent_looks = self._still_looks = 0

    def look(self, pid: int | None) -> float:
        """Look at the process. Returns its total processor time."""
        self._silent_looks += 1
        self._still_looks += 1
        used_s = processor_s(pid)
        if used_s - self._busy_s >= BUSY_S:
            self._still_looks = 0
            self._busy_s = used_s
        # One that has just answered, as most have, is not worth the reading of all its threads.
        elif self._silent_looks > 1 and at_work(pid):
            self._still_looks = 0
        return used_s
