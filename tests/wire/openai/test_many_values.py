"""Large bodies of very many small values: they are refused before they are decoded, since decoding stops all else."""

from typing import Any

import pytest

from antiphon.core.errors import CallerError
from antiphon.core.wire import Opening
from antiphon.surfaces.openai.chat import ChatCompletions
from antiphon.surfaces.openai.embeddings import Embeddings
from antiphon.surfaces.openai.responses import Responses

MESSAGE = b'{"role":"user","content":"a"}'
ITEM = b'{"type":"message","role":"user","content":"a"}'


@pytest.mark.parametrize(
    ("endpoint", "body", "mark"),
    [
        (ChatCompletions(), b'{"model":"m","messages":[%b]}' % b",".join([MESSAGE] * 200_000), "{"),
        (Responses(), b'{"model":"m","input":[%b]}' % b",".join([ITEM] * 200_000), "{"),
        (Embeddings(), b'{"model":"m","input":[%b]}' % b",".join([b"[1]"] * 300_000), "["),
        (Embeddings(), b'{"model":"m","input":[%b]}' % b",".join([b"1"] * 1_200_000), ","),
    ],
    ids=["messages", "items", "lists", "numbers"],
)
def test_they_are_refused(endpoint: Any, body: bytes, mark: str) -> None:
    with pytest.raises(CallerError, match=f"may hold '\\{mark}' at most"):
        endpoint.negotiate(Opening("POST", "/"), body)


def test_a_long_text_is_not() -> None:
    text = b"if (a) { return [b, c]; } " * 50_000
    spec = Embeddings().negotiate(Opening("POST", "/"), b'{"model":"m","input":"%b"}' % text).spec  # type: ignore[union-attr]
    assert spec.texts == (text.decode(),)


def test_too_many_items_are_refused_by_their_number() -> None:
    body = b'{"model":"m","input":[%b]}' % b",".join([ITEM] * 3_000)
    with pytest.raises(CallerError, match="2048"):
        Responses().negotiate(Opening("POST", "/"), body)
