"""Control messages that clients send as bytes: as audio, their odd number would make noise of all that follows."""

from typing import Any

import pytest

from antiphon.core.events import Audio, End, Flush, Input
from antiphon.core.wire import Opening
from antiphon.surfaces.deepgram.flux import FluxEndpoint
from antiphon.surfaces.deepgram.live import LiveListenEndpoint
from antiphon.surfaces.deepgram.wire import MOST_TEXT_BYTES

QUERY = (("model", "nova-3"), ("encoding", "linear16"), ("sample_rate", "16000"))


def _listen() -> Any:
    return LiveListenEndpoint().negotiate(Opening("GET", "/v1/listen", QUERY)).surface


def _flux() -> Any:
    query = (("model", "flux-general-en"), *QUERY[1:])
    return FluxEndpoint().negotiate(Opening("GET", "/v2/listen", query)).surface


@pytest.mark.parametrize("opened", [_listen, _flux])
@pytest.mark.parametrize(
    ("message", "inputs"),
    [
        (b'{"type": "KeepAlive"}', ()),
        (b'{"type": "CloseStream"}\n', (End(),)),
        (b"{" + bytes(200), None),
        (b'{"type"' + bytes(200) + b"}\xff", None),
        (b'{"type": "KeepAlive"' + b" " * MOST_TEXT_BYTES + b"}", None),
    ],
)
def test_text_as_bytes(opened: Any, message: bytes, inputs: tuple[Input, ...] | None) -> None:
    step = opened().receive(message, 1)
    assert step.inputs == ((Audio(message),) if inputs is None else inputs)
    assert step.close is None


def test_a_finalize_as_bytes() -> None:
    assert _listen().receive(b'{"type":"Finalize"}', 1).inputs == (Flush(),)
