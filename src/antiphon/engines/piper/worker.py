"""A voice's process: commands in, one report for each piece requested.

No text of a caller may leave through an exception or a log.
"""

import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import SimpleQueue

from antiphon.engines.espeak.phonemizer import Unspeakable
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
from antiphon.engines.process import Unloadable, beating
from antiphon.engines.worker import Link, reason, run

MISSING = "piper-tts is not installed: pip install 'antiphon[piper]' (its licence is GPL-3.0)"
_Speech = Iterator[tuple[bytes, bool]]


class Stage:
    """The open clauses, and threads that compute their pieces in the order of requests. `prepare` is
    called after each.
    """

    def __init__(self, link: Link[Command], workers: int, prepare: Callable[[], None]) -> None:
        self._link = link
        self._prepare = prepare
        self._speeches: dict[int, _Speech] = {}
        self._requests: SimpleQueue[int] = SimpleQueue()
        for _ in range(workers):
            threading.Thread(target=self._work, daemon=True).start()

    def begin(self, number: int, speech: _Speech) -> None:
        self._speeches[number] = speech
        self._requests.put(number)

    def more(self, number: int) -> None:
        self._requests.put(number)

    def drop(self, number: int) -> None:
        self._speeches.pop(number, None)

    def _work(self) -> None:
        while True:
            number = self._requests.get()
            speech = self._speeches.get(number)
            if speech is None:
                continue
            try:
                pcm, last = next(speech)
                report: Piece | Failed = Piece(number, pcm, last)
            except Unspeakable:
                report, last = Failed(number, True), True
            except Exception:  # whatever the text caused in a vendor's library
                report, last = Failed(number, False), True
            if last:
                self._speeches.pop(number, None)
            del speech
            try:
                self._link.send(report)
            except OSError:
                return  # the server is gone, and the process about to end
            self._prepare()


def serve(sock: socket.socket) -> None:
    """Serve until the server is gone."""
    link = Link(sock, command_decoder.decode)
    commands = link.commands()
    load = next(commands, None)
    if not isinstance(load, Load):
        return
    try:
        with beating(link.beat):
            from antiphon.engines.piper.speech import Voice

            voice = Voice(Path(load.path), load.speaker, load.workers, load.threads)
            for _ in voice.speak("Ready.", 1.0):
                pass  # the first run allocates
            voice.prepare()
    except ModuleNotFoundError as error:
        link.send(Unloadable(MISSING if error.name == "piper" else str(error)))
        return
    except Exception as error:
        link.send(Unloadable(reason(error)))
        return
    stage = Stage(link, load.workers, voice.prepare)
    link.send(Ready(voice.sample_rate, voice.language))
    for command in commands:
        match command:
            case Speak():
                stage.begin(command.number, voice.speak(command.text, command.speed))
            case More():
                stage.more(command.number)
            case Drop():
                stage.drop(command.number)


if __name__ == "__main__":
    run(serve)
