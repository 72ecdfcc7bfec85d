"""Texts that were cut in the middle of a character: JSON may hold half of a surrogate pair, no text can."""

import tracemalloc
from typing import Any

import pytest

from antiphon.core.errors import CallerError
from antiphon.core.wire import Opening
from antiphon.surfaces.openai.chat import ChatCompletions
from antiphon.surfaces.openai.completions import Completions
from antiphon.surfaces.openai.embeddings import Embeddings
from antiphon.surfaces.openai.responses import Responses
from antiphon.surfaces.openai.speech import Speech


@pytest.mark.parametrize("half", [rb"cut \ud83d", rb"\ude00 cut", rb"\ud83d\ud83d\ude00", rb"\uD83d, cut"])
@pytest.mark.parametrize(
    ("endpoint", "body", "param"),
    [
        (ChatCompletions(), b'{"model":"m","messages":[{"role":"user","content":"%b"}]}', "messages[0].content"),
        (
            ChatCompletions(),
            b'{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"%b"}]}]}',
            "messages[0].content[0].text",
        ),
        (ChatCompletions(), b'{"model":"m","messages":[{"role":"user","content":"a"}],"stop":["a","%b"]}', "stop[1]"),
        (ChatCompletions(), b'{"model":"%b","messages":[]}', "model"),
        (Completions(), b'{"model":"m","prompt":"%b"}', "prompt"),
        (Responses(), b'{"model":"m","input":"%b"}', "input"),
        (Responses(), b'{"model":"m","input":[{"role":"user","content":"%b"}]}', "input[0].content"),
        (Responses(), b'{"model":"m","input":"a","instructions":"%b"}', "instructions"),
        (Embeddings(), b'{"model":"m","input":["a","%b"]}', "input[1]"),
        (Speech(), b'{"model":"m","voice":"v","input":"%b"}', "input"),
    ],
)
def test_half_of_a_character_is_named(endpoint: Any, body: bytes, param: str, half: bytes) -> None:
    with pytest.raises(CallerError) as refused:
        endpoint.negotiate(Opening("POST", "/"), body % half)
    assert refused.value.param == param
    assert "surrogate" in refused.value.message
    assert "cut" not in refused.value.message


def test_a_name_that_is_half_a_character_is_where_it_stands() -> None:
    with pytest.raises(CallerError) as refused:
        Embeddings().negotiate(Opening("POST", "/"), b'{"model":"m","input":"a","\\ud83d":"a"}')
    assert refused.value.param is None
    assert "surrogate" in refused.value.message


def test_whole_characters_are_text() -> None:
    body = rb'{"model":"m","input":"\ud83d\ude00"}'
    assert Embeddings().negotiate(Opening("POST", "/"), body).spec.texts == ("😀",)  # type: ignore[union-attr]


def test_another_fault_is_not_taken_for_it() -> None:
    for body in (b'{"model":"m","input":"\xff"}', b'{"model":'):
        with pytest.raises(CallerError, match="not a valid JSON object") as refused:
            Embeddings().negotiate(Opening("POST", "/"), body)
        assert refused.value.param is None


def test_a_mark_of_the_byte_order_is_no_part_of_the_body() -> None:
    body = b'\xef\xbb\xbf{"model":"m","input":"a"}'
    assert Embeddings().negotiate(Opening("POST", "/"), body).spec.texts == ("a",)  # type: ignore[union-attr]


def test_many_values_far_down_take_no_more_memory_than_the_body() -> None:
    """Each of them has a long path."""
    depth, name = 300, b"k" * 64
    deep = b'{"%b":' % name * depth + b"[" + b"0," * 3_000 + rb'"\ud83d"]' + b"}" * depth
    body = b'{"model":"m","messages":[{"role":"user","content":"a"}],"prediction":%b}' % deep
    tracemalloc.start()
    try:
        with pytest.raises(CallerError, match="surrogate") as refused:
            ChatCompletions().negotiate(Opening("POST", "/"), body)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert refused.value.param == "prediction" + f".{name.decode()}" * depth + "[3000]"
    assert most < 10_000_000
