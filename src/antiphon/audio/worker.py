"""The process that decoder processes are forked from, and the limits they live in.

It has the decoder imported once and touches no media itself, so that a fork of it, made for one recording or one live
stream and gone with it, costs a millisecond or two and knows nothing of any other. Each message on its standard input
brings a socket: the job. The job's socket is also its life: when the server closes it, the decoder is killed, whatever
it is doing; when a signal ends the decoder, the socket says which. When standard input closes, everything ends.
"""

import contextlib
import gc
import os
import resource
import select
import signal
import socket

from antiphon.audio.demux import Decoding, Gone, Link, warm_up
from antiphon.audio.frames import READY, SPAWN, Kind, header


def _confine(memory_bytes: int) -> None:
    """No new descriptor, so no file and no connection; nothing written, no core file, no child; bounded memory."""
    # A core size of 1, not 0: only 1 also stops cores that the kernel pipes to a handler (core(5)).
    for name, bound in (("NOFILE", 0), ("FSIZE", 0), ("CORE", 1), ("NPROC", 0)):
        resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (bound, bound))
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))


def _own_size_bytes() -> int:
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[0]) * resource.getpagesize()


def _decoder(job: socket.socket, memory_bytes: int) -> None:
    """The forked process, all of it. Never returns."""
    status = 1
    try:
        os.dup2(job.fileno(), 0)
        os.closerange(3, os.sysconf("SC_OPEN_MAX"))
        job.detach()
        _confine(memory_bytes)
        with contextlib.suppress(Gone):
            Decoding(Link(socket.socket(fileno=0))).run()
        status = 0
    finally:
        os._exit(status)


class Nursery:
    """The loop of the forking process: spawn on request, watch each job's socket and each child's end."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
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
                    # Only a hang-up is polled for: nobody waits for this decoder any more.
                    self._poll.unregister(descriptor)
                    os.kill(self._jobs[descriptor][1], signal.SIGKILL)

    def _spawn(self) -> bool:
        message, descriptors, _, _ = socket.recv_fds(self._control, SPAWN.size, 1)
        if not message:
            return False
        job = socket.socket(fileno=descriptors[0])
        try:
            child = os.fork()
        except OSError:
            job.close()  # the server reads an end of file, and says that there is no room
            return True
        if child == 0:
            _decoder(job, self._own_bytes + SPAWN.unpack(message)[0])
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
                    job.send(header(Kind.DIED, 1) + bytes([os.WTERMSIG(ended[child])]), socket.MSG_DONTWAIT)
            job.close()

    def end(self) -> None:
        for _, child in self._jobs.values():
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM):  # a server that drains still needs its decoders; it will hang up
        signal.signal(number, signal.SIG_IGN)
    control = socket.socket(fileno=os.dup(0))
    warm_up()
    gc.collect()
    gc.freeze()
    nursery = Nursery(control)
    try:
        nursery.run()
    finally:
        nursery.end()


if __name__ == "__main__":
    main()
