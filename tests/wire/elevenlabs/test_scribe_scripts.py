"""What ElevenLabs' speech to text says in the wire scripts is what ElevenLabs' own SDK types; and single-use tokens."""

import inspect
import json
from pathlib import Path
from typing import Any

import pytest
from elevenlabs.realtime.scribe import RealtimeAudioOptions
from elevenlabs.speech_to_text.client import SpeechToTextClient
from elevenlabs.types import (
    CommittedTranscriptEntitiesPayload,
    CommittedTranscriptPayload,
    CommittedTranscriptWithTimestampsPayload,
    ExportOptions_SegmentedJson,
    ExportOptions_Srt,
    ExportOptions_Txt,
    MultichannelSpeechToTextResponseModel,
    PartialTranscriptPayload,
    RedactedTranscript,
    ScribeAuthErrorPayload,
    ScribeChunkSizeExceededErrorPayload,
    ScribeInputErrorPayload,
    ScribeInsufficientAudioActivityErrorPayload,
    ScribeInvalidRequestError,
    ScribeQuotaExceededErrorPayload,
    ScribeRateLimitedErrorPayload,
    ScribeResourceExhaustedErrorPayload,
    ScribeThrottledErrorPayload,
    ScribeTranscriberErrorPayload,
    ScribeWarning,
    SessionStartedPayload,
    SingleUseTokenResponseModel,
    SpeechToTextChunkResponseModel,
)
from elevenlabs_script import Player
from pydantic import BaseModel

from antiphon.core.errors import Unauthenticated, UnsupportedParameter
from antiphon.core.wire import Bearer, Body, Opening, Pending
from antiphon.surfaces.elevenlabs import speech_to_text_form as form_fields
from antiphon.surfaces.elevenlabs.dialogue_live import LiveDialogueEndpoint
from antiphon.surfaces.elevenlabs.exports import SegmentedJson, Srt, Txt
from antiphon.surfaces.elevenlabs.live import LiveSpeechEndpoint
from antiphon.surfaces.elevenlabs.speech_to_text import FileQuery, SpeechToText
from antiphon.surfaces.elevenlabs.speech_to_text_live import RealtimeSpeechToText, ScribeQuery
from antiphon.surfaces.elevenlabs.tokens import SingleUseTokens
from vendor_types import check

SCRIPTS = sorted((Path(__file__).parent / "scripts").glob("scribe_*.wire"))
MESSAGES: tuple[type[BaseModel], ...] = (
    SessionStartedPayload,
    PartialTranscriptPayload,
    CommittedTranscriptPayload,
    CommittedTranscriptWithTimestampsPayload,
    CommittedTranscriptEntitiesPayload,
    ScribeAuthErrorPayload,
    ScribeChunkSizeExceededErrorPayload,
    ScribeInputErrorPayload,
    ScribeInsufficientAudioActivityErrorPayload,
    ScribeInvalidRequestError,
    ScribeQuotaExceededErrorPayload,
    ScribeRateLimitedErrorPayload,
    ScribeResourceExhaustedErrorPayload,
    ScribeThrottledErrorPayload,
    ScribeTranscriberErrorPayload,
    ScribeWarning,
)
BY_TYPE = {
    next(iter(kind.model_fields["message_type"].annotation.__args__), "")  # type: ignore[union-attr]
    if kind is not ScribeWarning
    else "warning": kind
    for kind in MESSAGES
} | {"redacted_transcript": RedactedTranscript}


def kind_of(message: dict[str, Any]) -> type[BaseModel] | None:
    if "message_type" in message:
        return BY_TYPE[message["message_type"]]
    if "detail" in message:
        return None
    return MultichannelSpeechToTextResponseModel if "transcripts" in message else SpeechToTextChunkResponseModel


def test_every_message_is_one_of_the_sdks_types() -> None:
    seen = set()
    for path in SCRIPTS:
        player = Player()
        player.play(path.read_text())
        for _, text in player.sent:
            message = json.loads(text)
            if kind := kind_of(message):
                check(kind, message)
                seen.add(kind)
    assert seen == {
        *MESSAGES,
        RedactedTranscript,
        SpeechToTextChunkResponseModel,
        MultichannelSpeechToTextResponseModel,
    }


def test_all_that_the_sdk_can_ask_for_is_known() -> None:
    """Each parameter is honoured, named as without effect, or refused; and so are the fields of additional formats."""
    form = form_fields._HONOURED | set(form_fields._WITHOUT_EFFECT) | set(form_fields._REFUSED) | {"file"}
    convert = set(inspect.signature(SpeechToTextClient.convert).parameters) - {"self", "request_options"}
    assert convert == form | set(FileQuery.__struct_fields__)
    live = set(RealtimeAudioOptions.__annotations__) - {"sample_rate"}  # which the chunks have
    assert live == set(ScribeQuery.__struct_fields__) - {"authorization"}
    for theirs, ours in (
        (ExportOptions_Srt, Srt),
        (ExportOptions_Txt, Txt),
        (ExportOptions_SegmentedJson, SegmentedJson),
    ):
        assert set(theirs.model_fields) - {"format"} == set(ours.__struct_fields__)


def test_where_a_token_stands() -> None:
    """It counts more than a key beside it; a WebSocket of text to speech has another name for it."""
    query, key = (("token", "ek_1"),), {"xi-api-key": "k"}
    for endpoint in (SpeechToText(), RealtimeSpeechToText()):
        assert endpoint.credential(Opening("GET", "/", query, key)) == Bearer("ek_1")
        assert endpoint.credential(Opening("GET", "/", (), key)) == Bearer("k")
        assert endpoint.credential(Opening("GET", "/", (("token", " "),))) is None
    for speaking in (LiveSpeechEndpoint(many=True), LiveDialogueEndpoint()):
        assert speaking.credential(Opening("GET", "/", (("single_use_token", "ek_1"),), key)) == Bearer("ek_1")
        assert speaking.credential(Opening("GET", "/", (("token", "ek_1"),))) is Pending.PENDING


@pytest.mark.parametrize("token_type", ["realtime_scribe", "batch_scribe", "tts_websocket"])
def test_a_token_is_for_one_type_of_call(token_type: str) -> None:
    opening = Opening("GET", "/v1/text-to-speech/v/stream-input", (), {}, settled=token_type.encode())
    form = Opening("POST", "/", (), {"content-type": "multipart/form-data"}, settled=token_type.encode())
    body = Body(b"SOUND", (("model_id", "scribe_v2"),), has_file=True)
    taken = {
        "realtime_scribe": lambda: RealtimeSpeechToText().negotiate(opening),
        "batch_scribe": lambda: SpeechToText().negotiate(form, body),
        "tts_websocket": lambda: LiveSpeechEndpoint(many=False).negotiate(opening),
        "dialogue": lambda: LiveDialogueEndpoint().negotiate(opening),
    }
    for name, negotiate in taken.items():
        if token_type in (name, "tts_websocket" if name == "dialogue" else name):
            assert negotiate().spec
        else:
            with pytest.raises(Unauthenticated):
                negotiate()


def test_a_new_token() -> None:
    opening = Opening("POST", "/v1/single-use-token/batch_scribe", request_id="r")
    asked = SingleUseTokens("batch_scribe").ask(opening, b"")
    assert (asked.lifetime_s, asked.settled) == (900, b"batch_scribe")
    answer: Any = asked.tell("ek_1")
    check(SingleUseTokenResponseModel, json.loads(answer.body))
    assert dict(answer.headers)["cache-control"] == "no-store"
    with pytest.raises(UnsupportedParameter):
        SingleUseTokens("batch_scribe").ask(Opening("POST", "/", (("ttl", "1"),)), b"")
