"""What a child that reads a text may answer, and what is made of it: the child is the test's."""

import signal
import socket
import threading
from collections.abc import Callable

import pytest

from antiphon.engines.espeak import phonemizer as phonemizers
from antiphon.engines.espeak.phonemizer import MOST_ANSWER_BYTES, Phonemizer, Unspeakable
from antiphon.engines.espeak.wire import DIED, FAILED, HEADER, PHONEMES, TEXT, message

Reader = Callable[..., Phonemizer]


@pytest.fixture
def reader(monkeypatch: pytest.MonkeyPatch) -> Reader:
    """One whose children give these answers, one after the other, and hang up."""
    threads: list[threading.Thread] = []

    def made(*answers: bytes) -> Phonemizer:
        left = list(answers)

        def order(self: Phonemizer) -> socket.socket:
            ours, theirs = socket.socketpair()
            answer = left.pop(0)

            def child() -> None:
                with theirs:
                    kind, length = HEADER.unpack(theirs.recv(HEADER.size))
                    assert kind == TEXT
                    assert theirs.recv(length) == "Ça va.".encode()
                    theirs.sendall(answer)

            threads.append(threading.Thread(target=child))
            threads[-1].start()
            return ours

        monkeypatch.setattr(Phonemizer, "_start", lambda self: None)
        monkeypatch.setattr(Phonemizer, "_order", order)
        return Phonemizer("fr", {"s", "a", " "}, spare=0)

    yield made  # type: ignore[misc]
    for thread in threads:
        thread.join()


def test_phonemes_that_the_voice_does_not_know_are_left_out(reader: Reader) -> None:
    answer = message(PHONEMES, b'[["s","a","x","sa",""," "],[]]')
    assert reader(answer).read("Ça va.") == [["s", "a", " "], []]


@pytest.mark.parametrize(
    "answer",
    [
        message(FAILED),
        message(PHONEMES, b"\xff"),
        message(PHONEMES, b"[[1]]"),
        message(PHONEMES, b'{"a": 1}'),
        message(PHONEMES, b"[" * 5000),
        message(b"?", b"[]"),
        HEADER.pack(PHONEMES, MOST_ANSWER_BYTES + 1),
        message(DIED, bytes([signal.SIGSEGV])),
        message(DIED, bytes([signal.SIGXCPU])),
    ],
)
def test_what_makes_no_sense_is_the_texts_doing(reader: Reader, answer: bytes) -> None:
    with pytest.raises(Unspeakable):
        reader(answer).read("Ça va.")


def test_a_child_that_somebody_killed_is_not(reader: Reader) -> None:
    with pytest.raises(OSError, match="killed"):
        reader(message(DIED, bytes([signal.SIGKILL]))).read("Ça va.")


def test_a_child_that_is_gone_is_replaced_once(reader: Reader) -> None:
    assert reader(b"", message(PHONEMES, b"[]")).read("Ça va.") == []
    with pytest.raises(OSError, match="without a result"):
        reader(b"", b"P").read("Ça va.")


def test_a_child_that_does_not_answer_is_not_waited_for_long(reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(phonemizers, "WALL_S", 0.01)
    ours, theirs = socket.socketpair()
    read = reader()
    monkeypatch.setattr(Phonemizer, "_order", lambda self: ours)
    with theirs, pytest.raises(TimeoutError):
        read.read("Ça va.")
