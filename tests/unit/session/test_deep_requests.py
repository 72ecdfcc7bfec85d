"""Deeply nested requests: what is taken can be answered, kept and shown again; the rest is refused before."""

import pytest

from antiphon.core.errors import CallerError
from antiphon.core.events import ChoiceEnded, Completed, FinishReason, Opened, TextDelta, TokenUsage
from antiphon.core.wire import Opening
from antiphon.session.requests import translate
from antiphon.surfaces.openai.kept_responses import InputItems, RetrieveResponse
from antiphon.surfaces.openai.responses import Responses

OPENING = Opening("POST", "/v1/responses", request_id="00000000-0000-4000-8000-000000000001")
EVENTS = (
    Opened("m", kept=True),
    TextDelta(0, "Ho", 1),
    ChoiceEnded(0, FinishReason.STOP),
    Completed(TokenUsage(1, 1)),
)
SHAPES = {
    "reasoning": b'{"model":"m","input":[{"role":"user","content":"%b"},{"type":"reasoning","summary":[%b]}]}',
    "tools": b'{"model":"m","input":"%b","tools":[{"type":"function","name":"f","parameters":%b}]}',
}


@pytest.mark.parametrize("padding", [0, 200_000])  # read here, and in a thread, where the stack is shallow
@pytest.mark.parametrize("shape", SHAPES)
async def test_a_nested_request_is_refused_or_answered_whole(shape, padding):
    taken = refused = 0
    for depth in range(700, 1000, 3):
        nested = b'{"a":' * depth + b"1" + b"}" * depth
        try:
            request = await translate(Responses().negotiate, OPENING, SHAPES[shape] % (b"x" * padding, nested))
        except CallerError:
            refused += 1
            continue
        taken += 1
        keeps = [request.surface.emit(event, 0).keep for event in EVENTS]
        body = next(keep.body for keep in keeps if keep is not None)
        for endpoint in (RetrieveResponse(), InputItems()):
            assert endpoint.show(Opening("GET", "/v1/responses/resp_1"), body, False).status == 200
    assert taken
    assert refused
