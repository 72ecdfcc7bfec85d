"""What is done with texts around the model, without it."""

import threading
from types import SimpleNamespace

import pytest

from antiphon.core.redaction import Entity, Span
from antiphon.engines.rampart import BESIDE_CHARACTERS, Rampart


@pytest.mark.parametrize(("length", "beside"), [(100, False), (BESIDE_CHARACTERS + 1, True)])
async def test_long_texts_do_not_hold_up_the_event_loop(length: int, beside: bool) -> None:
    threads = []

    class Tokenizer:
        """Each text is one token."""

        def encode_batch(self, texts):
            threads.append(threading.current_thread())
            return [SimpleNamespace(ids=[1], offsets=[(0, len(text))]) for text in texts]

    class Batches:
        async def compute(self, rows):
            return tuple((1.0,) for _ in rows)

    rampart = object.__new__(Rampart)
    rampart._tokenizer, rampart._batches = Tokenizer(), Batches()
    rampart._kinds = [(), (Entity.NAME,)]
    assert await rampart.tag(["a" * length]) == [(Span(0, length, (Entity.NAME,)),)]
    assert [thread is not threading.main_thread() for thread in threads] == [beside]
