"""Texts that are spoken over a connection, and words that are spoken in a conversation, appear in no log, no metric, no
ledger, no file, and no error of anybody; nor does what a client secret was settled with.
"""

import asyncio
import json
from base64 import b64encode

import pytest
from starlette.applications import Starlette
from test_language_privacy import ERRORS, MARK, ask, house, kept, logged
from test_realtime_privacy import Call, fails

from antiphon.core.errors import CallerError, EngineError
from antiphon.routes import ROUTES
from antiphon.transports import table
from antiphon.transports.uploads import Uploads
from session_house import audio, until

assert house  # fixtures of that module
assert logged

DEEPGRAM, ELEVENLABS, MANY = (
    ("/v1/speak", "model=alloy&encoding=linear16"),
    ("/v1/text-to-speech/alloy/stream-input", "model_id=tone&output_format=pcm_16000&auto_mode=true"),
    ("/v1/text-to-speech/alloy/multi-stream-input", "model_id=tone&output_format=pcm_16000&sync_alignment=true"),
)
TEXT = f"A {MARK} text, spoken. "
RIGHT = {
    DEEPGRAM: [{"type": "Speak", "text": TEXT}, {"type": "Flush"}, {"type": "Speak", "text": TEXT}, {"type": "Close"}],
    ELEVENLABS: [{"text": " "}, {"text": TEXT, "flush": True, MARK: MARK}, {"text": TEXT}, {"text": ""}],
    MANY: [
        {"text": TEXT, "context_id": MARK},
        {"text": TEXT, "context_id": "b", "flush": True},
        {"context_id": MARK, "close_context": True},
        {"close_socket": True},
    ],
}
CLEARED = [{"type": "Speak", "text": TEXT}, {"type": "Clear"}, {"type": "Speak", "text": TEXT[:5]}]
WRONG = {
    DEEPGRAM: (MARK, f'"{MARK}"', {"type": MARK}, {"type": "Speak", "text": [MARK]}, {"type": "Speak", MARK: MARK}),
    ELEVENLABS: (
        *(MARK, f'"{MARK}"', {"text": {MARK: MARK}}, {"text": TEXT, "flush": MARK}),
        {"text": TEXT, "voice_settings": {"speed": MARK}},
        {"text": TEXT, "pronunciation_dictionary_locators": [{"pronunciation_dictionary_id": MARK}]},
    ),
    MANY: ({"context_id": [MARK]}, {"context_id": MARK * 100, "text": TEXT}, {"text": TEXT, "context_id": 1}),
}


async def talk(house, where, messages, leaves=False):
    """What was told on a connection, to its close."""
    app = Starlette(routes=table.routes(ROUTES, house.door, house.clock, Uploads(1 << 20, 1 << 24)))
    path, query = where
    says, told = asyncio.Queue(), []
    says.put_nowait({"type": "websocket.connect"})
    for message in messages:
        text = message if isinstance(message, str) else json.dumps(message)
        says.put_nowait({"type": "websocket.receive", "text": text})
    headers = [(b"authorization", b"Token secret"), (b"xi-api-key", b"secret")]
    scope = {"type": "websocket", "path": path, "query_string": query.encode(), "headers": headers, "subprotocols": []}

    async def send(message):
        told.append(message)
        if leaves and len(told) == 3:
            says.put_nowait({"type": "websocket.disconnect", "code": 1006})

    async with asyncio.timeout(20):
        await app(scope, says.get, send)
        await until(lambda: not house.sessions.all)
    return told


def closing(told):
    """The code and reason of the close, and the errors that were told before it."""
    errors = [m["text"] for m in told if m.get("text") and '"error"' in m["text"]]
    return told[-1]["code"], json.dumps([told[-1]["reason"], errors])


@pytest.mark.parametrize("where", RIGHT)
@pytest.mark.parametrize("leaves", [True, False])
async def test_texts_of_a_connection(house, tmp_path, logged, where, leaves):
    told = await talk(house, where, RIGHT[where], leaves)
    assert MARK in house.synthesiser.clauses[0].text
    if not leaves:
        assert told[-1]["code"] == 1000
    everything = kept(house, tmp_path, logged)
    assert MARK not in everything
    assert "session ended" in everything


async def test_texts_that_are_cleared(house, tmp_path, logged):
    await talk(house, DEEPGRAM, [*CLEARED, {"type": "Close"}])
    assert MARK not in kept(house, tmp_path, logged)


@pytest.mark.parametrize(("where", "message"), [(where, message) for where in WRONG for message in WRONG[where]])
async def test_messages_that_make_no_sense(house, tmp_path, logged, where, message):
    code, errors = closing(await talk(house, where, [message]))
    assert code in (1003, 1008)
    assert MARK not in errors
    assert MARK not in kept(house, tmp_path, logged)


@pytest.mark.parametrize("where", RIGHT)
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
async def test_connections_whose_voice_fails(house, tmp_path, logged, monkeypatch, where, error):
    async def fail(clause):
        yield b"\x00\x20" * 48_000
        raise error

    monkeypatch.setattr(house.synthesiser, "synthesise", fail)
    code, errors = closing(await talk(house, where, RIGHT[where]))
    assert code in (1008, 1011)
    assert MARK not in errors
    assert MARK not in kept(house, tmp_path, logged)
    defect = not isinstance(error, EngineError | CallerError)
    assert ("session failed" in logged.getvalue()) == defect


# -- what is spoken in a conversation ----------------------------------------------------------------------------------

LISTENING = {
    "type": "realtime",
    "audio": {
        "input": {
            "transcription": {"model": "nova-3"},
            "turn_detection": {"type": "server_vad", "silence_duration_ms": 300},
        }
    },
}


def spoken():
    """A turn, 24 kHz: each sample of 16 kHz, and every second one twice."""
    samples = memoryview(audio(900, 900)).cast("h")
    slower = [sample for n, sample in enumerate(samples) for _ in range(1 + n % 2)]
    pcm = b"".join(sample.to_bytes(2, "little", signed=True) for sample in slower)
    pieces = (pcm[start : start + 9600] for start in range(0, len(pcm), 9600))
    return [{"type": "input_audio_buffer.append", "audio": b64encode(piece).decode()} for piece in pieces]


async def test_words_that_are_heard(house, tmp_path, logged):
    house.recogniser.hear = lambda utterance: f"one {MARK} two"
    call = Call(house)
    for event in ({"type": "session.update", "session": LISTENING}, *spoken()):
        call.say(json.dumps(event))
    await until(lambda: call.of("response.done"))
    assert MARK in call.of("conversation.item.input_audio_transcription.completed")[0]["transcript"]
    assert any(MARK in message.text for spec, _ in house.generator.calls for message in spec.prompt)
    await call.leave(house)
    assert MARK not in kept(house, tmp_path, logged)


async def test_ears_that_fail(house, tmp_path, logged):
    def hear(utterance):
        raise ValueError(f"{MARK} in an exception")

    house.recogniser.hear = hear
    call = Call(house)
    for event in ({"type": "session.update", "session": LISTENING}, *spoken()):
        call.say(json.dumps(event))
    await until(lambda: call.of("error") or call.task.done())
    assert MARK not in json.dumps(call.told)
    await call.leave(house)
    assert MARK not in kept(house, tmp_path, logged)


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
async def test_voices_of_a_conversation_that_fail(house, tmp_path, logged, monkeypatch, error):
    async def fail(clause):
        yield b"\x00\x20" * 8_000  # less than is made ahead
        raise error

    monkeypatch.setattr(house.synthesiser, "synthesise", fail)
    call = Call(house)
    said = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": MARK}]}
    for event in ({"type": "conversation.item.create", "item": said}, {"type": "response.create"}):
        call.say(json.dumps(event))
    await fails(call)
    await call.leave(house)
    assert MARK not in kept(house, tmp_path, logged)


# -- what a client secret was settled with -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "session",
    [
        {"type": "realtime", "model": "counter", "instructions": MARK},
        {"type": MARK, "instructions": MARK},
        {"type": "realtime", "model": "counter", "instructions": [MARK]},
        {"type": "realtime", "model": "counter", "tool_choice": MARK},
    ],
)
async def test_client_secrets(house, tmp_path, logged, session):
    status, answered = await ask(house, "/v1/realtime/client_secrets", {"session": session})
    everything = kept(house, tmp_path, logged)
    assert MARK not in everything
    if status == 200:
        assert json.loads(answered)["value"] not in everything
    else:
        assert status in (400, 422)
        assert MARK not in json.loads(answered)["error"]["message"]
