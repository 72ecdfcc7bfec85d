"""The process that confined children are forked from, and their limits.

It imports a vendor's library once and reads no input itself: a fork for one job takes a millisecond or two and knows
nothing of others. Each message on its control socket brings a socket, the job's. When the other side closes that, the
child is killed; when a signal ends the child, the socket says which. When the control socket closes, everything ends.
"""

import contextlib
import gc
import os
import resource
import select
import signal
import socket
import struct
from collections.abc import Callable

# To the forking process, with the job's socket: the bytes that one child may allocate beyond its own size.
SPAWN = struct.Struct("<Q")
READY = b"R"  # from it, once it is ready, and in reply to a message without a socket

Work = Callable[[socket.socket, Callable[[], None]], None]
Told = Callable[[int], bytes]


def _confine(memory_bytes: int) -> None:
    """Permit no new descriptor (so no file, no connection), no writing, no core file, no child; bound the memory."""
    # A core size of 1, not 0: only 1 also stops cores that the kernel pipes to a handler (core(5)).
    for name, bound in (("NOFILE", 0), ("FSIZE", 0), ("CORE", 1), ("NPROC", 0)):
        resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (bound, bound))
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))


def _own_size_bytes() -> int:
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[0]) * resource.getpagesize()


def _child(job: socket.socket, work: Work, memory_bytes: int) -> None:
    """Run the forked process. Never returns."""
    status = 1
    try:
        os.dup2(job.fileno(), 0)
        os.closerange(3, os.sysconf("SC_OPEN_MAX"))
        job.detach()
        work(socket.socket(fileno=0), lambda: _confine(memory_bytes))
        status = 0
    finally:
        os._exit(status)


class ForkServer:
    """The loop of the forking process: fork on request, watch each job's socket and each child's end.

    `work` does a job: it takes the socket and a function that confines the process for good, which it must call before
    it uses the library on the socket's input. `died` makes the message for the signal that ended a child.
    """

    def __init__(self, control: socket.socket, work: Work, died: Told) -> None:
        self._control = control
        self._work = work
        self._died = died
        self._own_bytes = _own_size_bytes()
        self._poll = select.poll()
        self._jobs: dict[int, tuple[socket.socket, int]] = {}
        self._wake, wake_write = socket.socketpair()
        wake_write.setblocking(False)
        self._wake.setblocking(False)
        self._wake_write = wake_write
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake_write.fileno(), warn_on_full_buffer=False)

    def run(self) -> None:
        """Serve until the control socket closes."""
        self._poll.register(self._control, select.POLLIN)
        self._poll.register(self._wake, select.POLLIN)
        self._control.send(READY)
        while True:
            for descriptor, _ in self._poll.poll():
                if descriptor == self._control.fileno():
                    if not self._spawn():
                        return
                elif descriptor == self._wake.fileno():
                    self._reap()
                elif descriptor in self._jobs:
                    # Only a hang-up is polled for: nobody waits for this child any more.
                    self._poll.unregister(descriptor)
                    os.kill(self._jobs[descriptor][1], signal.SIGKILL)

    def _spawn(self) -> bool:
        message, descriptors, _, _ = socket.recv_fds(self._control, SPAWN.size, 1)
        if not message:
            return False
        if not descriptors:  # a question whether it still answers
            self._control.send(READY)
            return True
        job = socket.socket(fileno=descriptors[0])
        try:
            child = os.fork()
        except OSError:
            job.close()  # the other side reads an end of file, and reports that there is no room
            return True
        if child == 0:
            _child(job, self._work, self._own_bytes + SPAWN.unpack(message)[0])
        self._jobs[job.fileno()] = (job, child)
        self._poll.register(job, 0)
        return True

    def _reap(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self._wake.recv(4096):
                pass
        ended: dict[int, int] = {}
        with contextlib.suppress(ChildProcessError):
            while (found := os.waitpid(-1, os.WNOHANG))[0]:
                ended[found[0]] = found[1]
        for descriptor, (job, child) in list(self._jobs.items()):
            if child not in ended:
                continue
            del self._jobs[descriptor]
            with contextlib.suppress(KeyError):
                self._poll.unregister(descriptor)
            if os.WIFSIGNALED(ended[child]):
                with contextlib.suppress(OSError):
                    job.send(self._died(os.WTERMSIG(ended[child])), socket.MSG_DONTWAIT)
            job.close()

    def end(self) -> None:
        for _, child in self._jobs.values():
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)


def serve(warm_up: Callable[[], None], work: Work, died: Told) -> None:
    """Run the forking process; its control socket is its standard input. `warm_up` loads what children need."""
    for number in (signal.SIGINT, signal.SIGTERM):  # a draining server still needs its children
        signal.signal(number, signal.SIG_IGN)
    control = socket.socket(fileno=os.dup(0))
    warm_up()
    gc.collect()
    gc.freeze()
    server = ForkServer(control, work, died)
    try:
        server.run()
    finally:
        server.end()
