"""The forking process, whose children read one text each (see `confined.forks`).

It has espeak-ng's library loaded, initialised for one language, and little else. Its arguments are the name of espeak's
voice, and the clusters of vowels that are one phoneme, as JSON.
"""

import importlib.util
import json
import resource
import socket
import sys
import types
import unicodedata
from collections import Counter
from collections.abc import Callable
from typing import Any

from antiphon.confined.forks import serve
from antiphon.engines.espeak.wire import DIED, FAILED, HEADER, PHONEMES, TEXT, message

CPU_S = 2  # for one text: a thousand times what a clause takes
# One letter of each script that espeak-ng may read by another language's rules, whose files it opens then.
_LETTERS = "α я ա א ا क ক ਕ ક କ க క ಕ ക ක ก ກ ཀ က ა 가 ሀ Ꭰ"


def _script(letter: str) -> str:
    return unicodedata.name(letter, "").partition(" ")[0]


_SCRIPTS = {_script(letter): letter for letter in _LETTERS.split()}


class Reader:
    """The library, set to one language."""

    def __init__(self, voice: str, clusters: set[tuple[str, ...]] | None) -> None:
        """Load the library. Raises `ModuleNotFoundError` without `piper-tts`, `RuntimeError` for an unknown voice."""
        self._voice = voice
        self._clusters = clusters or None
        found = importlib.util.find_spec("piper")
        if found is None:
            raise ModuleNotFoundError("piper-tts is not installed", name="piper")
        # The package's own __init__ would import ONNX Runtime, which is not needed here.
        package = types.ModuleType("piper")
        package.__path__ = list(found.submodule_search_locations or ())
        sys.modules["piper"] = package
        from piper import espeakbridge
        from piper.phonemize_espeak import EspeakPhonemizer

        self._library = EspeakPhonemizer()
        self.warm()  # this also loads English, if the voice has another language
        # Set only once: setting it reads its file, which a confined child cannot.
        setattr(espeakbridge, "set_voice", lambda voice: None)  # noqa: B010

    def warm(self) -> bytes:
        """Read a text of our own."""
        return self.answer("Hello, 1 + the x. ")

    def answer(self, text: str) -> bytes:
        """Return the message with the phonemes of each sentence."""
        return message(PHONEMES, json.dumps(self.read(text), ensure_ascii=False).encode())

    def read(self, text: str) -> list[list[str]]:
        """Return the phonemes of each sentence."""
        sentences: list[list[str]] = self._library.phonemize(self._voice, text, self._clusters)
        return sentences

    def open_files(self, text: str) -> None:
        """Let the library open its files for other scripts in a text: it reads one letter of each, never the text. It
        keeps the files of one foreign language, so the most frequent script comes last.
        """
        found = Counter(_script(char) for char in text if char > "\u036f")
        for script, _ in reversed(found.most_common()):
            if script in _SCRIPTS:
                self.read(_SCRIPTS[script])


def _work(reader: Reader, job: socket.socket, confine: Callable[[], None]) -> None:
    reader.warm()  # copies the memory that a text needs, while nobody waits
    kind, length = HEADER.unpack(_exactly(job, HEADER.size))
    if kind != TEXT:
        return
    text = _exactly(job, length).decode()
    if not text.isascii():
        reader.open_files(text)
    confine()
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
    try:
        answer = reader.answer(text)
    except Exception:  # whatever the text caused in a vendor's library
        answer = message(FAILED)
    job.sendall(answer)


def _exactly(job: socket.socket, length: int) -> bytes:
    data = bytearray()
    while len(data) < length:
        part = job.recv(length - len(data))
        if not part:
            raise EOFError  # nobody waits for this any more
        data += part
    return bytes(data)


def main(voice: str, clusters: str) -> None:
    made: list[Any] = []
    serve(
        lambda: made.append(Reader(voice, {tuple(cluster) for cluster in json.loads(clusters)})),
        lambda job, confine: _work(made[0], job, confine),
        lambda number: message(DIED, bytes([number])),
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
