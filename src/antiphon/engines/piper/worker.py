"""A voice's process: commands in, one report for each piece asked for.

No text of a caller leaves through an exception or a log.
"""

import signal
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from queue import SimpleQueue

import msgspec

from antiphon.engines.piper.messages import (
    Command,
    Drop,
    Failed,
    Load,
    More,
    Piece,
    Ready,
    Speak,
    command_decoder,
)
from antiphon.engines.process import Frames, Unloadable, frame

MISSING = "piper-tts is not installed: pip install 'antiphon[piper]' (its licence is GPL-3.0)"
_Speech = Iterator[tuple[bytes, bool]]


class Link:
    """The process's end of the socket."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._frames = Frames()
        self._sending = threading.Lock()

    def send(self, report: msgspec.Struct) -> None:
        with self._sending:
            self._socket.sendall(frame(report))

    def commands(self) -> Iterator[Command]:
        """Until the server is gone."""
        while data := self._socket.recv(1 << 16):
            yield from map(command_decoder.decode, self._frames.bodies(data))


class Stage:
    """The clauses that are begun, and threads that compute their pieces in the order in which they are asked for."""

    def __init__(self, link: Link, workers: int) -> None:
        self._link = link
        self._speeches: dict[int, _Speech] = {}
        self._asked: SimpleQueue[int] = SimpleQueue()
        for _ in range(workers):
            threading.Thread(target=self._work, daemon=True).start()

    def begin(self, number: int, speech: _Speech) -> None:
        self._speeches[number] = speech
        self._asked.put(number)

    def more(self, number: int) -> None:
        self._asked.put(number)

    def drop(self, number: int) -> None:
        self._speeches.pop(number, None)

    def _work(self) -> None:
        while True:
            number = self._asked.get()
            speech = self._speeches.get(number)
            if speech is None:
                continue
            try:
                pcm, last = next(speech)
                report: Piece | Failed = Piece(number, pcm, last)
            except Exception:  # of whatever the text has set off in a vendor's library
                report, last = Failed(number), True
            if last:
                self._speeches.pop(number, None)
            del speech
            try:
                self._link.send(report)
            except OSError:
                return  # the server is gone, and the process about to end


def serve(link: Link) -> None:
    """Until the server is gone."""
    commands = link.commands()
    load = next(commands, None)
    if not isinstance(load, Load):
        return
    try:
        from antiphon.engines.piper.speech import Voice

        voice = Voice(Path(load.path), load.speaker, load.workers, load.threads)
        for _ in voice.speak("Ready.", 1.0):
            pass  # the first run allocates
    except ModuleNotFoundError as error:
        link.send(Unloadable(MISSING if error.name == "piper" else str(error)))
        return
    except Exception as error:
        link.send(Unloadable((str(error).strip().splitlines() or [type(error).__name__])[-1]))
        return
    stage = Stage(link, load.workers)
    link.send(Ready(voice.sample_rate, voice.language))
    for command in commands:
        match command:
            case Speak():
                stage.begin(command.number, voice.speak(command.text, command.speed))
            case More():
                stage.more(command.number)
            case Drop():
                stage.drop(command.number)


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM):  # a server that drains still needs its voice; it will hang up
        signal.signal(number, signal.SIG_IGN)
    try:
        serve(Link(socket.socket(fileno=int(sys.argv[1]))))
    except OSError:
        pass  # the server is gone
    except Exception:
        sys.exit(1)


if __name__ == "__main__":
    main()
