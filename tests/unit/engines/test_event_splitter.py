"""Server-sent events out of bytes, however these come."""

import itertools
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.core.errors import EngineError
from antiphon.engines.openai_compatible.sse import EventSplitter

STREAM = b': a comment\n\ndata: {"a":1}\n\nevent: x\ndata:{"b":2}\r\n\r\n\n\ndata: one\ndata: two\n\ndata: [DONE]\n\n'
PAYLOADS = [b'{"a":1}', b'{"b":2}', b"one\ntwo", b"[DONE]"]


def test_comments_line_ends_and_several_lines() -> None:
    assert EventSplitter(100).feed(STREAM) == PAYLOADS


@given(st.lists(st.integers(0, len(STREAM)), max_size=20))
def test_however_it_is_cut(cuts: list[int]) -> None:
    splitter = EventSplitter(100)
    places = [0, *sorted(cuts), len(STREAM)]
    pieces = [STREAM[start:end] for start, end in itertools.pairwise(places)]
    assert [payload for piece in pieces for payload in splitter.feed(piece)] == PAYLOADS


def test_an_event_waits_for_its_end() -> None:
    splitter = EventSplitter(100)
    assert splitter.feed(b"data: {") == []
    assert splitter.feed(b"}\n") == []
    assert splitter.feed(b"\n") == [b"{}"]


def test_an_event_is_bounded_over_reads() -> None:
    splitter = EventSplitter(100)
    splitter.feed(b"data: " + b"x" * 90)
    with pytest.raises(EngineError, match="100 bytes"):
        splitter.feed(b"x" * 20)


def test_an_event_is_bounded_over_lines() -> None:
    splitter = EventSplitter(100)
    splitter.feed(b"data: " + b"x" * 90 + b"\n")
    with pytest.raises(EngineError, match="100 bytes"):
        splitter.feed(b"data: " + b"x" * 20 + b"\n")


def test_an_event_of_many_lines_takes_time_in_proportion() -> None:
    splitter = EventSplitter(1 << 20)
    begun = time.process_time()
    for _ in range(12):
        splitter.feed(b"data:xx\n" * 8192)
    (payload,) = splitter.feed(b"\n")
    assert len(payload) == 12 * 8192 * 3 - 1
    assert time.process_time() - begun < 1
