import msgspec
import pytest

from antiphon.bench.client import heard
from antiphon.bench.measure import Heard
from antiphon.bench.speech import Span


def test_results_become_what_was_heard_in_samples() -> None:
    text = (
        '{"type":"Results","channel_index":[0,1],"duration":1.25,"start":0.5,"is_final":true,"speech_final":true,'
        '"channel":{"alternatives":[{"transcript":"Hello.","confidence":0.9,"words":[]}]},"metadata":{}}'
    )
    assert heard(text, 17) == Heard(17, Span(8_000, 28_000), True, "Hello.")


@pytest.mark.parametrize(
    "text",
    [
        '{"type":"Metadata","channels":1,"duration":2.0}',
        '{"type":"SpeechStarted","channel":[0,1],"timestamp":0.3}',
        '{"type":"UtteranceEnd","channel":[0,1],"last_word_end":1.0}',
    ],
)
def test_other_messages_are_not_results(text: str) -> None:
    assert heard(text, 17) is None


@pytest.mark.parametrize("text", ["", "[]", '{"type":"Results"}', '{"type":"Results","channel":[0,1]}'])
def test_a_message_that_is_not_deepgrams_is_an_error(text: str) -> None:
    with pytest.raises(msgspec.MsgspecError):
        heard(text, 17)
