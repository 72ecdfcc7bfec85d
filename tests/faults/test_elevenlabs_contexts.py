"""Whatever ElevenLabs' callers do: texts that make little sense are spoken, timed and charged, and contexts in any
order of messages end once each, and the connection with its documented code.
"""

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_speech_fuzz import HURRIED, SPOKEN, billed, texts

from antiphon.core.usage import Dimension

pytestmark = pytest.mark.usefixtures("no_defects")
KEY = ("xi-api-key", "secret")
JSON = ("content-type", "application/json")
VOICE = "/v1/text-to-speech/alloy"
END = json.dumps({"close_socket": True})


def ask(door, path, text, query="output_format=pcm_16000&model_id=tone"):
    return door.ask("POST", path, json.dumps({"text": text}).encode(), query, [KEY, JSON])


@HURRIED
@given(SPOKEN, st.sampled_from(["", "/stream"]))
def test_any_text(door, text, kind):
    status, media_type, pcm = ask(door, VOICE + kind, text)
    assert (status, media_type) == (200, "audio/pcm"), pcm
    assert door.charged.get(Dimension.TTS_CHARACTERS, 0) == billed(text)
    assert door.charged.get(Dimension.TTS_AUDIO_MS, 0) == pytest.approx(len(pcm) / 32, abs=20)


@HURRIED
@given(SPOKEN)
def test_any_text_is_timed(door, text):
    """Characters in order, as they were written; those after the last that is said may have no time."""
    status, _, body = ask(door, f"{VOICE}/stream/with-timestamps", text)
    assert status == 200, body
    timed = [line["alignment"] for line in map(json.loads, body.splitlines()) if line["alignment"]]
    said = "".join(char for each in timed for char in each["characters"])
    assert said in text
    assert said or "<break" in text or not body  # a pause is sound, too
    starts = [start for each in timed for start in each["character_start_times_seconds"]]
    ends = [end for each in timed for end in each["character_end_times_seconds"]]
    assert all(a <= b for a, b in pairwise(starts))
    assert all(start <= end for start, end in zip(starts, ends, strict=True))


def message(context, **said):
    return json.dumps({"context_id": context} | said)


CONTEXTS = st.sampled_from(["a", "b", "c"])
DOINGS = st.lists(
    st.builds(message, CONTEXTS, text=SPOKEN | st.sampled_from(["", " "]))
    | st.builds(message, CONTEXTS, text=SPOKEN, flush=st.just(True))
    | st.builds(message, CONTEXTS, text=st.just(""), flush=st.just(True))
    | st.builds(message, CONTEXTS, close_context=st.just(True)),
    max_size=14,
)


def begun(doings):
    """How many contexts there were, and how much was said in them."""
    open_now, count, characters = set(), 0, 0
    for each in map(json.loads, doings):
        context, text = each["context_id"], each.get("text") or ""
        if each.get("close_context"):
            open_now.discard(context)
        elif text and context not in open_now:
            open_now.add(context)
            count += 1
        characters += len(text)
    return count, characters


@HURRIED
@given(DOINGS, st.booleans(), st.booleans())
def test_contexts_in_any_order(door, doings, auto, timed):
    query = f"output_format=pcm_16000&model_id=tone&auto_mode={str(auto).lower()}&sync_alignment={str(timed).lower()}"
    told, code = door.talk(f"{VOICE}/multi-stream-input", [*doings, END], query, [KEY], stays=True)
    told = [json.loads(each) for each in told]
    count, characters = begun(doings)
    assert code == 1000, told[-1]
    assert sum(each["isFinal"] for each in told) == count
    assert door.charged.get(Dimension.TTS_CHARACTERS, 0) <= characters
    heard = set()
    for each in reversed(told):  # nothing comes after a context's last end
        if each["isFinal"]:
            heard.add(each["contextId"])
        assert each["contextId"] in heard


@HURRIED
@given(st.lists(SPOKEN | st.sampled_from([" ", ""]), max_size=6), st.lists(st.booleans(), min_size=6, max_size=6))
def test_one_text_in_any_pieces(door, pieces, flushes):
    """It is spoken whole, up to the empty message."""
    messages = [json.dumps({"text": piece, "flush": flush}) for piece, flush in zip(pieces, flushes, strict=False)]
    query = "output_format=pcm_16000&model_id=tone"
    told, code = door.talk(f"{VOICE}/stream-input", [*messages, '{"text": ""}'], query, [KEY], stays=True)
    assert code == 1000, told[-1]
    assert [json.loads(each)["isFinal"] for each in told] == [False] * (len(told) - 1) + [True]
    spoken = pieces[: pieces.index("")] if "" in pieces else pieces
    blank = next((n for n, piece in enumerate(spoken) if not piece.isspace()), len(spoken))
    parted = texts(spoken[blank:], flushes[blank:])
    assert door.charged.get(Dimension.TTS_CHARACTERS, 0) == sum(map(billed, parted))
