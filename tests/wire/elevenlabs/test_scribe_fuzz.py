"""Whatever comes in, speech to text answers with a step or an `AntiphonError`, and never sends after its close; no text
of the caller's is in an error. Every order to commit is answered once: by a transcript, or as one too many.
"""

import json
from base64 import b64encode
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from antiphon.core.errors import AntiphonError, CapacityError, EngineError
from antiphon.core.events import Audio, Cause, Closed, Failed, Final, Flush, Interim, Opened, Transcript, Word
from antiphon.core.units import NS_PER_MS
from antiphon.core.wire import NOTHING, Body, Head, Opening
from antiphon.surfaces.elevenlabs.speech_to_text import SpeechToText
from antiphon.surfaces.elevenlabs.speech_to_text_form import _HONOURED, _REFUSED, _WITHOUT_EFFECT
from antiphon.surfaces.elevenlabs.speech_to_text_live import FORMATS, RealtimeSpeechToText, ScribeQuery

SECRET = "the caller's own words"
FORM = {"content-type": "multipart/form-data; boundary=x"}

values = (
    st.sampled_from(
        ["true", "False", "null", "", "0", "1", "en", "eng", "vad", "manual", "pcm_8000", "٣", "nan", "1e999"]
    )
    | st.integers().map(str)
    | st.floats().map(str)
    | st.just(SECRET)
    | st.text(max_size=12)
)
formats = st.lists(
    st.fixed_dictionaries(
        {"format": st.sampled_from(["srt", "txt", "segmented_json", "docx", SECRET])},
        optional=dict.fromkeys(
            ("include_timestamps", "max_segment_chars", "max_segment_duration_s", "max_characters_per_line", SECRET),
            st.none() | st.booleans() | st.integers(-1, 50) | st.floats() | st.just(SECRET),
        ),
    ),
    max_size=3,
).map(json.dumps)
fields = st.lists(
    st.tuples(st.sampled_from(sorted({*_HONOURED, *_WITHOUT_EFFECT, *_REFUSED})) | st.text(max_size=8), values)
    | st.tuples(st.just("additional_formats"), formats | st.text(max_size=20)),
    max_size=5,
)
words = st.lists(
    st.tuples(
        st.sampled_from(["It", "was", "a", "-->"]), st.integers(0, 9_000), st.integers(0, 3_000), st.floats(0, 1)
    ),
    max_size=4,
).map(lambda many: tuple(Word(text, at, at + more, sure) for text, at, more, sure in many))
transcripts = st.builds(lambda said: Transcript(" ".join(word.text for word in said), 0.5, said), words) | st.just(
    Transcript("It was", 0.0)
)
finals = st.builds(
    Final, st.integers(0, 1), st.integers(0, 99), st.integers(100, 99_000), transcripts, st.sampled_from(Cause)
)


@given(fields, st.booleans(), st.binary(max_size=4), st.lists(finals, max_size=4))
def test_forms(given_fields: Any, model: bool, data: bytes, said: list[Final]) -> None:
    endpoint = SpeechToText()
    opening = Opening("POST", "/v1/speech-to-text", (), FORM, request_id="r")
    sent = (*given_fields, *((("model_id", "scribe_v2"),) if model else ()))
    try:
        accepted = endpoint.negotiate(opening, Body(data, sent, has_file=bool(data)))
    except AntiphonError as error:
        refused = endpoint.refuse(opening, error)
    else:
        answers(accepted.surface, said)
        return
    assert SECRET not in refused.body.decode()


def answers(surface: Any, said: list[Final]) -> None:
    """The answer is of the words that were said."""
    for final in said:
        assert surface.emit(final, 0) == NOTHING
    step = surface.emit(Closed(99_000, 2, ""), 0)
    assert step.close
    head, body = step.sends
    assert isinstance(head, Head)
    answer = json.loads(body)  # type: ignore[arg-type]
    for each in answer.get("transcripts", [answer]):
        if not answer.get("transcripts") and all(final.transcript.words for final in said if final.transcript.text):
            assert "".join(word["text"] for word in each["words"]).split() == each["text"].split()
        assert all(word["logprob"] <= 0 for word in each["words"])


chunks = st.fixed_dictionaries(
    {},
    optional={
        "message_type": st.sampled_from(["input_audio_chunk", "odd", SECRET, None]),
        "audio_base_64": st.integers(0, 20_000).map(lambda size: b64encode(bytes(size)).decode())
        | st.sampled_from(["", None, "A", SECRET]),
        "commit": st.booleans() | st.none(),
        "sample_rate": st.sampled_from([16_000, 8_000, None, "16000"]),
        "previous_text": st.sampled_from([None, "", SECRET]),
        "odd": st.just(SECRET),
    },
).map(json.dumps) | st.sampled_from(["", "[]", "null", SECRET, "{", '{"a":' * 2000])
happenings = st.lists(
    chunks
    | st.binary(max_size=8)
    | finals
    | st.builds(Interim, st.just(0), st.just(0), st.just(100), transcripts)
    | st.sampled_from([Opened("m"), Closed(1, 1, ""), Failed(EngineError("x")), Failed(CapacityError("x"))]),
    max_size=12,
)
queries = st.lists(
    st.tuples(st.sampled_from(ScribeQuery.__struct_fields__) | st.text(max_size=8), values), max_size=3
).map(tuple)


@given(queries)
def test_openings(query: Any) -> None:
    endpoint = RealtimeSpeechToText()
    opening = Opening("GET", "/v1/speech-to-text/realtime", query)
    try:
        accepted = endpoint.negotiate(opening)
    except AntiphonError as error:
        step = endpoint.refuse(opening, error)
        assert step.close
        assert len(step.close.reason.encode()) <= 123
        return
    assert accepted.spec.format in FORMATS.values()


@given(
    st.sampled_from(["manual", "vad"]),
    st.booleans(),
    st.lists(st.tuples(happenings, st.integers(0, 200_000)), max_size=3),
)
def test_messages(strategy: str, timed: bool, runs: Any) -> None:
    query = (("commit_strategy", strategy), ("include_timestamps", str(timed).lower()))
    surface = RealtimeSpeechToText().negotiate(Opening("GET", "/v1/speech-to-text/realtime", query)).surface
    now_ns, closed = 0, False
    for run, later_ms in runs:
        for happening in run:
            heard = isinstance(happening, str | bytes)
            step = surface.receive(happening, now_ns) if heard else surface.emit(happening, now_ns)
            assert not closed or step == NOTHING
            told = [json.loads(sent) for sent in step.sends if isinstance(sent, str)]
            assert len(told) == len(step.sends)
            if heard:
                assert SECRET not in "".join(map(str, step.sends))
                assert all(isinstance(each, Audio | Flush) for each in step.inputs)
            committed = [each for each in told if each["message_type"] == "committed_transcript"]
            if isinstance(happening, Final) and not closed:
                assert len(committed) == 1 or happening.cause is not Cause.FLUSH
            closed = closed or step.close is not None
        now_ns += later_ms * NS_PER_MS
        step = surface.expire(now_ns)
        assert not closed or step == NOTHING
        closed = closed or step.close is not None
    assert surface.deadline_ns() is None or not closed
