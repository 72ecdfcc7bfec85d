import pytest

from antiphon.bench.completions import EventLines, body, decode, endpoint, reason, refused
from antiphon.core.errors import CallerError, CapacityError, EngineError


@pytest.mark.parametrize("ending", [b"\n\n", b"\r\n\r\n"])
@pytest.mark.parametrize("size", [1, 2, 7, 1_000])
def test_events_are_the_same_however_the_bytes_are_cut(ending: bytes, size: int) -> None:
    sent = (
        b": a comment" + ending + b'data: {"a":1}' + ending + b"event: x\ndata:two" + ending + b"data: [DONE]" + ending
    )
    events = EventLines()
    found = [event for at in range(0, len(sent), size) for event in events.feed(sent[at : at + size])]
    assert found == [b'{"a":1}', b"two", b"[DONE]"]


@pytest.mark.parametrize(
    ("delta", "holds"),
    [
        (b'{"role":"assistant","content":""}', False),
        (b'{"role":"assistant","content":null,"tool_calls":null}', False),
        (b"{}", False),
        (b'{"content":" "}', True),
        (b'{"reasoning_content":"so"}', True),
        (b'{"reasoning":"so"}', True),
        (b'{"tool_calls":[{"index":0}]}', True),
    ],
)
def test_a_delta_that_names_only_the_role_holds_no_token(delta: bytes, holds: bool) -> None:
    chunk = decode(b'{"id":"c","choices":[{"index":0,"delta":' + delta + b',"finish_reason":null}],"usage":null}')
    assert chunk.choices[0].delta is not None
    assert chunk.choices[0].delta.holds_tokens is holds


@pytest.mark.parametrize("url", ["http://h:1", "http://h:1/", "http://h:1/v1", "http://h:1/v1/"])
def test_an_origin_and_a_base_lead_to_the_same_place(url: str) -> None:
    assert endpoint(url) == "http://h:1/v1/chat/completions"


def test_a_request_holds_what_was_asked_for_and_no_more() -> None:
    assert body("m", [], stream=False) == {"model": "m", "messages": [], "stream": False}
    asked = body("m", [], stream=True, max_tokens=5, temperature=0.0)
    assert asked["stream_options"] == {"include_usage": True}
    assert (asked["max_tokens"], asked["temperature"]) == (5, 0.0)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b'{"error":{"message":"No such model.","type":"x"}}', "No such model."),
        (b'{"error":"loading"}', "loading"),
        (b'{"detail":"Not found"}', "Not found"),
        (b'{"object":"error","message":"bad"}', "bad"),
        (b"<html>", "the server failed"),
        (b"[]", "the server failed"),
    ],
)
def test_the_reason_is_found_in_whatever_shape_surrounds_it(answer: bytes, said: str) -> None:
    assert reason(answer) == said


@pytest.mark.parametrize(
    ("status", "blame"), [(404, CallerError), (429, CapacityError), (503, CapacityError), (500, EngineError)]
)
def test_a_refusal_is_an_error_by_blame(status: int, blame: type[Exception]) -> None:
    assert isinstance(refused(status, b""), blame)
