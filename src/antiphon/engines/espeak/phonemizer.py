"""Text to phonemes: the voice's side of the confined children. Blocking.

A child is forked before its text arrives, so that a text waits only for its own reading, and not right after another
text, whose sound is being computed then. A child's answer is not
trusted, since a stranger's text may have overwritten its memory: it is bounded and checked, and contains only phonemes
that the voice knows.
"""

import signal
import socket
import subprocess
import threading
from collections import deque
from collections.abc import Container, Iterable, Sequence
from contextlib import suppress

import msgspec

from antiphon import children
from antiphon.confined.forks import READY, SPAWN
from antiphon.engines.espeak.wire import DIED, HEADER, PHONEMES, TEXT, message

MEMORY_BYTES = 64 * 1024 * 1024  # of one child, beyond what it inherits
MOST_ANSWER_BYTES = 512 * 1024  # the answer for the longest clause is a tenth of it
WALL_S = 8.0  # for one text, on a busy machine
START_S = 30.0
_ENDING_S = 0.2
# Fills all allocated memory with zeros (mallopt(3), M_PERTURB): the library reads memory that it has not written, and
# some texts would be read or not, depending on what was there before.
_ZEROED = "glibc.malloc.perturb=255"
# Signals that the text causes, and not something else.
_BY_THE_TEXT = (signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGFPE, signal.SIGILL, signal.SIGXCPU)

_decoder = msgspec.json.Decoder(list[list[str]])


class Unspeakable(Exception):
    """The library crashes on this text, or makes nothing of it."""


class Phonemizer:
    """The reader of one language. `read` may be called by several threads. Raises `OSError` if its processes cannot be
    started. `known` are the voice's phonemes, `clusters` those of several signs; `prepare` lets `spare` children wait.
    """

    def __init__(
        self, voice: str, known: Container[str], clusters: Iterable[Sequence[str]] = (), spare: int = 1
    ) -> None:
        self._command = (voice, msgspec.json.encode([list(cluster) for cluster in clusters]).decode())
        self._known = known
        self._spare = spare
        self._lock = threading.Lock()
        self._control: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._waiting: deque[socket.socket] = deque()
        with self._lock:
            self._start()

    @property
    def pid(self) -> int:
        """The pid of the forking process."""
        return self._process.pid if self._process else 0

    def read(self, text: str) -> list[list[str]]:
        """Return the known phonemes of each sentence. Raises `Unspeakable`; or `OSError` if there is no child or no
        answer.
        """
        try:
            try:
                answer = self._ask(self._child(), text)
            except (EOFError, ConnectionError):  # that child is gone, or there was no room for one
                answer = self._ask(self._child(fresh=True), text)
        except EOFError:
            raise OSError("The child process ended without a result.") from None
        except TimeoutError:  # it, or the forking process, is stuck: the next text restarts both
            self.close()
            raise
        try:
            sentences = _decoder.decode(answer)
        except ValueError:  # msgspec's errors are ValueErrors
            raise Unspeakable from None
        return [[phoneme for phoneme in sentence if phoneme in self._known] for sentence in sentences]

    def prepare(self) -> None:
        """Fork the spare children that are missing, for the next texts."""
        with self._lock, suppress(OSError):  # the next text notices, and restarts the process
            while len(self._waiting) < self._spare:
                self._waiting.append(self._order())

    def close(self) -> None:
        """End every process, also busy ones."""
        with self._lock:
            self._end()

    # -- one text ------------------------------------------------------------------------------------------------------

    def _ask(self, job: socket.socket, text: str) -> bytes:
        with job:
            job.settimeout(WALL_S)
            job.sendall(message(TEXT, text.encode()))
            kind, length = HEADER.unpack(_exactly(job, HEADER.size))
            if kind == DIED:
                number = _exactly(job, 1)[0]
                raise Unspeakable if number in _BY_THE_TEXT else OSError("The child process was killed.")
            if kind != PHONEMES or length > MOST_ANSWER_BYTES:
                raise Unspeakable
            return _exactly(job, length)

    # -- processes -----------------------------------------------------------------------------------------------------

    def _child(self, fresh: bool = False) -> socket.socket:
        """Return the socket of a child; not of a spare one, if it must be `fresh`."""
        with self._lock:
            if fresh and self._process is not None:
                with suppress(subprocess.TimeoutExpired):
                    self._process.wait(_ENDING_S)  # it may be gone, or about to end
                    self._start()
            return self._waiting.popleft() if self._waiting and not fresh else self._order()

    def _order(self) -> socket.socket:
        """Fork a child, and return its socket."""
        if self._control is None:
            self._start()
        assert self._control is not None
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                socket.send_fds(self._control, [SPAWN.pack(MEMORY_BYTES)], [theirs.fileno()])
        except OSError:
            ours.close()
            raise
        return ours

    def _start(self) -> None:
        self._end()
        ours, theirs = socket.socketpair()
        apart = children.apart()
        tunables = (apart["env"].get("GLIBC_TUNABLES"), _ZEROED)
        apart["env"]["GLIBC_TUNABLES"] = ":".join(filter(None, tunables))
        with theirs:
            self._process = subprocess.Popen(
                children.command("antiphon.engines.espeak.worker", *self._command),
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                **apart,
            )
        ours.settimeout(START_S)
        if ours.recv(1) != READY:
            ours.close()
            raise OSError("The text reader process could not be started.")
        self._control = ours

    def _end(self) -> None:
        for job in self._waiting:
            job.close()
        self._waiting.clear()
        if self._control is not None:
            self._control.close()
            self._control = None
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


def _exactly(job: socket.socket, length: int) -> bytes:
    data = bytearray()
    while len(data) < length:
        part = job.recv(length - len(data))
        if not part:
            raise EOFError
        data += part
    return bytes(data)
