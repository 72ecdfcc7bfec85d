"""Texts that make little sense, by the thousand, at the endpoints that speak: each is spoken and charged to its last
character, and whatever a caller of a live text does, every message has its answer and the end its documented code.
"""

import json
import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from antiphon.core.specs import Markup
from antiphon.core.usage import Dimension
from antiphon.text.clauses import Clauses

pytestmark = pytest.mark.usefixtures("no_defects")
KEY = ("authorization", "Bearer secret")
JSON = ("content-type", "application/json")
PLAIN = ("content-type", "text/plain")
EXAMPLES = int(os.environ.get("ANTIPHON_MUTATIONS", "1000")) // 20
HURRIED = settings(database=None, max_examples=EXAMPLES, suppress_health_check=list(HealthCheck))

ODD = (
    *("3.50", "$3.50", "€1,000.00", "-0.0", "1e309", "9" * 400, "1/0", "½", "٣", "IV", "MCMXC", "0x10", "1st", "42nd"),
    *("2024-02-30", "12/31/1999", "25:61", "12:05", "+1 555 0100", "3-4", "100%", "$", "%", "#1", "№ 5", "°C", "1 km"),
    *(
        "Dr.",
        "e.g.",
        "U.S.A.",
        "...",
        "?!",
        "--",
        "—",
        "“a”",
        "(b)",
        "[c]",
        "{d}",
        "*e*",
        "_f_",
        "`g`",
        "h/i",
        "@j",
        "~",
    ),
    *(
        "https://a.example/b?c=d#e",
        "a@b.example",
        "C:\\d",
        "<break time='1s'/>",
        "<speak>",
        "</speak>",
        "&amp;",
        "&#0;",
    ),
    *(
        "\0",
        "\u202e",
        "\u2028",
        "\u200b",
        "\ufeff",
        "\ufffd",
        "e\u0301",
        "\u0301",
        "👩‍👩‍👧",
        "🇬🇧",
        "\x1b[0m",
        "日本語",
        "عربى",
    ),
    *(" ", "\n\n", "\t", "a" * 300, "a" * 60 + ".", "Hello there, world.", "and so on;", "no", "Why?"),
)
TEXTS = st.lists(st.sampled_from(ODD) | st.text(st.characters(exclude_categories=["Cs"]), max_size=8), max_size=12).map(
    " ".join
)
SPOKEN = TEXTS.filter(lambda text: text.strip() and len(text) <= 2_000)


def billed(text):
    """A text is charged whole, and not at all where nothing of it can be read aloud."""
    clauses = Clauses(Markup.NONE)
    return len(text) if any(phrase.words for phrase in (*clauses.push(text), *clauses.flush())) else 0


def texts(pieces, flushes):
    """What is between flushes."""
    parted = [""]
    for piece, flush in zip(pieces, flushes, strict=False):
        parted[-1] += piece
        if flush:
            parted.append("")
    return parted


@HURRIED
@given(SPOKEN, st.sampled_from([0.25, 1.0, 3.9]))
def test_openai(door, text, speed):
    body = json.dumps({"model": "tone", "voice": "alloy", "input": text, "response_format": "pcm", "speed": speed})
    status, kind, pcm = door.ask("POST", "/v1/audio/speech", body.encode(), headers=[KEY, JSON])
    assert (status, kind) == (200, "audio/pcm"), pcm
    assert len(pcm) % 2 == 0
    assert door.charged.get(Dimension.TTS_CHARACTERS, 0) == billed(text)
    assert door.charged.get(Dimension.TTS_AUDIO_MS, 0) == pytest.approx(len(pcm) / 48, abs=20)


@HURRIED
@given(SPOKEN)
def test_deepgram(door, text):
    query = "model=alloy&encoding=mulaw&container=none"
    status, kind, sound = door.ask("POST", "/v1/speak", text.encode(), query, [KEY, PLAIN])
    assert (status, kind) == (200, "audio/mulaw;rate=8000"), sound
    assert door.charged.get(Dimension.TTS_CHARACTERS, 0) == billed(text)


def speak(text):
    return json.dumps({"type": "Speak", "text": text})


FLUSH, CLEAR, CLOSE = ('{"type":"Flush"}', '{"type":"Clear"}', '{"type":"Close"}')


def talk(door, messages):
    told, code = door.talk("/v1/speak", messages, "model=alloy&encoding=linear16", [KEY], stays=CLOSE in messages)
    return [json.loads(each) if isinstance(each, str) else each for each in told], code


@HURRIED
@given(st.lists(SPOKEN, max_size=6), st.lists(st.booleans(), min_size=6, max_size=6))
def test_deepgram_live(door, pieces, flushes):
    """In whatever pieces a text comes."""
    messages = [m for piece, flush in zip(pieces, flushes, strict=False) for m in (speak(piece), FLUSH)[: 1 + flush]]
    told, code = talk(door, [*messages, CLOSE])
    assert code == 1000
    assert told[0]["type"] == "Metadata"
    answers = [each["sequence_id"] for each in told[1:] if isinstance(each, dict)]
    assert answers == list(range(messages.count(FLUSH)))
    assert door.charged.get(Dimension.TTS_CHARACTERS, 0) == sum(map(billed, texts(pieces, flushes)))


DOINGS = st.lists(st.sampled_from([FLUSH, CLEAR, CLOSE, "{}", b"", b"x"]) | SPOKEN.map(speak) | TEXTS, max_size=12)


@HURRIED
@given(DOINGS)
def test_deepgram_in_any_order(door, doings):
    """Every `Flush` and `Clear` has its answer before the end that was asked for. Who leaves hears no more."""
    told, code = talk(door, doings)
    done = doings[: doings.index(CLOSE)] if CLOSE in doings else doings
    fine = all(
        each in (FLUSH, CLEAR) or (isinstance(each, str) and each.startswith('{"type": "Speak"')) for each in done
    )
    if not fine:
        assert code in (1003, 1008)
    elif CLOSE in doings:
        assert code == 1000
        kinds = [each["type"] for each in told if isinstance(each, dict)]
        assert kinds.count("Flushed") == done.count(FLUSH)
        assert kinds.count("Cleared") == done.count(CLEAR)
    else:
        assert code is None
    assert door.charged.get(Dimension.TTS_CHARACTERS, 0) <= sum(
        len(json.loads(each)["text"]) for each in done if isinstance(each, str) and each.startswith('{"type": "Speak"')
    )
