"""The limits of rate in OpenAI's headers, on answers and refusals, and as the SDK reads them."""

import json

from antiphon.core.budgets import RateExceeded, RateLimit
from antiphon.core.events import ChoiceEnded, Completed, FinishReason, Opened, TextDelta, TokenUsage
from antiphon.core.wire import Opening
from antiphon.surfaces.openai.chat import ChatCompletions
from antiphon.surfaces.openai.wire import rate_headers

RATES = (RateLimit("requests", 60, 59, 1_000), RateLimit("tokens", 90_000, 88_500, 1_250))
HEADERS = (
    ("x-ratelimit-limit-requests", "60"),
    ("x-ratelimit-remaining-requests", "59"),
    ("x-ratelimit-reset-requests", "1s"),
    ("x-ratelimit-limit-tokens", "90000"),
    ("x-ratelimit-remaining-tokens", "88500"),
    ("x-ratelimit-reset-tokens", "1.25s"),
)
OPENING = Opening("POST", "/v1/chat/completions", request_id="00000000-0000-4000-8000-000000000001")


def head(**asked):
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "hi"}]} | asked).encode()
    surface = ChatCompletions().negotiate(OPENING, body).surface
    events = (
        *(Opened("m", rates=RATES), TextDelta(0, "a", 1), ChoiceEnded(0, FinishReason.STOP)),
        Completed(TokenUsage(1, 1)),
    )
    sends = [send for event in events for send in surface.emit(event, 0).sends]
    return sends[0].headers


def test_answers_tell_what_is_left_whole_and_streamed():
    for stream in (False, True):
        assert set(HEADERS) <= set(head(stream=stream))


def test_a_refusal_tells_it_too_and_when_to_come_back():
    refusal = ChatCompletions().refuse(OPENING, RateExceeded("This project may have 60 requests a minute.", 7, RATES))
    assert refusal.sends[0].status == 429
    assert {*HEADERS, ("retry-after", "7")} <= set(refusal.sends[0].headers)
    error = json.loads(refusal.sends[1])["error"]
    assert (error["code"], error["type"]) == ("rate_limit_exceeded", "requests")


def test_without_limits_there_are_no_headers():
    assert rate_headers(()) == ()
