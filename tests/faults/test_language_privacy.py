"""What callers say and what models answer appears in no log, no metric, no ledger, no file, and no error of anybody.

Calls that go well, are refused, fail or break, with unmistakable words in every place that a caller or a model fills.
"""

import asyncio
import io
import itertools
import json
import logging

import pytest
from starlette.applications import Starlette

from antiphon.core.errors import CallerError, EngineError
from antiphon.core.events import (
    ChoiceEnded,
    FinishReason,
    ReasoningDelta,
    TextDelta,
    TokenUsage,
    ToolCallDelta,
    ToolCallStarted,
)
from antiphon.logs import JsonLines
from antiphon.routes import ROUTES
from antiphon.stores.sqlite.ledger import SqliteLedger
from antiphon.surfaces.openai import answers, embeddings
from antiphon.transports import table
from antiphon.transports.bounds import PRESENCE, Presence
from antiphon.transports.uploads import Uploads
from session_house import House, closed

MARK = "xylophone"  # in everything that somebody said
TAG = "label"  # callers ask for these to be kept with the usage
ANSWER = (
    (ReasoningDelta(0, f"{MARK} thought", 1),),
    (TextDelta(0, f"{MARK} answer", 1),),
    (ToolCallStarted(0, 0, "call_1", "f"), ToolCallDelta(0, 0, f'{{"a": "{MARK} argument"}}', 1)),
    (ChoiceEnded(0, FinishReason.STOP),),
    (TokenUsage(5, 3),),
)
TOOL = {"name": "f", "description": f"{MARK} tool", "parameters": {"type": "object", "title": f"{MARK} schema"}}
SAID = [
    {"role": "system", "content": f"{MARK} system"},
    {"role": "user", "content": f"{MARK} prompt", "name": "me"},
    {
        "role": "assistant",
        "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": f'"{MARK}"'}}],
    },
    {"role": "tool", "tool_call_id": "c", "content": f"{MARK} result"},
]
CHAT = {
    "model": "counter",
    "messages": SAID,
    "tools": [{"type": "function", "function": TOOL}],
    "stop": [f"{MARK} stop"],
    "metadata": {"kind": TAG},
    "user": f"{MARK} user",
}
CALLS = {
    "/v1/chat/completions": CHAT,
    "/v1/completions": {"model": "counter", "prompt": f"{MARK} prompt", "stop": f"{MARK} stop", "user": MARK},
    "/v1/embeddings": {"model": "vectors", "input": [f"{MARK} text"], "user": MARK},
    "/v1/responses": {
        "model": "counter",
        "input": f"{MARK} prompt",
        "instructions": f"{MARK} instructions",
        "tools": [{"type": "function", **TOOL}],
        "metadata": {"kind": TAG},
    },
}
SPEECH = {
    "/v1/audio/speech": {"model": "tone", "voice": "alloy", "input": f"A {MARK} text.", "response_format": "pcm"},
    "/v1/speak?model=alloy": {"text": f"A {MARK} text."},
    "/v1/text-to-speech/alloy?output_format=pcm_16000": {"text": f"A {MARK} text.", "model_id": "tone"},
    "/v1/text-to-speech/alloy/stream": {"text": f"A {MARK} text.", "model_id": "tone"},
    "/v1/text-to-speech/alloy/with-timestamps": {"text": f"A {MARK} text.", "model_id": "tone"},
}
STREAMED = ("/v1/audio/speech", "/v1/speak?model=alloy", "/v1/text-to-speech/alloy/stream")
WRONG = (
    {"model": "counter", "messages": [{"role": f"{MARK}", "content": "x"}]},
    {"model": "counter", "messages": [{"role": "user", "content": [{"type": "image_url", "image_url": MARK}]}]},
    {"model": "counter", "messages": [{"role": "user", "content": {MARK: MARK}}]},
    {"model": "counter", "messages": f"{MARK} words"},
    {"model": "counter", "messages": SAID, "temperature": MARK},
    {"model": "counter", "messages": SAID, "response_format": {"type": MARK}},
    {"model": "counter", "messages": SAID, "tools": [{"type": "function", "function": {"name": f"{MARK} !"}}]},
    {"model": "counter", "messages": SAID, "tool_choice": MARK},
    {"model": "counter", "prompt": MARK, "input": {"type": MARK}},
    {"model": "counter", "input": [{"type": "message", "role": MARK, "content": MARK}]},
    {"model": "counter", "input": [MARK, {"a": MARK}], "prompt": [MARK, MARK], "messages": [MARK]},
)


@pytest.fixture
def logged():
    """All that is logged, at every level, as our own format writes it and as any other would, exceptions apart: those
    reach a log only through our format.
    """
    root, lines = logging.getLogger(), io.StringIO()
    ours, plain = logging.StreamHandler(lines), logging.StreamHandler(lines)
    ours.setFormatter(JsonLines())
    plain.setFormatter(Messages())
    before = root.level
    root.setLevel(logging.DEBUG)
    root.addHandler(ours)
    root.addHandler(plain)
    yield lines
    root.removeHandler(ours)
    root.removeHandler(plain)
    root.setLevel(before)


class Messages(logging.Formatter):
    """A record's message, arguments and extra fields."""

    def format(self, record):
        return repr({key: value for key, value in vars(record).items() if key not in ("exc_info", "exc_text")})


@pytest.fixture
async def house(tmp_path):
    house = House()
    ledger = SqliteLedger(tmp_path / "ledger.db", "a")
    house.ledger.append, house.ledger.claim = ledger.append, ledger.claim
    house.generator.script = lambda spec: ANSWER
    await house.runner.start()
    yield house
    await house.close()
    await ledger.close()


async def ask(house, path, body, leaves=False):
    """Status and body."""
    app = Starlette(routes=table.routes(ROUTES, house.door, house.clock, Uploads(1 << 20, 1 << 24)))
    sent, says = [], asyncio.Queue()
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    says.put_nowait({"type": "http.request", "body": data, "more_body": False})
    path, _, query = path.partition("?")
    headers = [
        (b"authorization", b"Bearer secret"),
        (b"xi-api-key", b"secret"),
        (b"content-type", b"application/json"),
        (b"idempotency-key", str(len(house.generator.calls)).encode()),
    ]
    presence = Presence()
    scope = {"type": "http", "method": "POST", "path": path, "query_string": query.encode(), "headers": headers}
    scope[PRESENCE] = presence

    async def send(message):
        sent.append(message)
        if leaves:
            presence.leave()
        await asyncio.sleep(0)

    await app(scope, says.get, send)
    await closed()
    return (sent[0]["status"] if sent else 0), b"".join(message.get("body", b"") for message in sent).decode(
        errors="replace"
    )


def kept(house, tmp_path, logged):
    """Everything that stays on the server."""
    files = [path.read_bytes().decode("latin-1") for path in tmp_path.rglob("*") if path.is_file()]
    assert any(files)
    return "\n".join((*files, logged.getvalue(), house.metrics()))


@pytest.mark.parametrize("path", CALLS)
@pytest.mark.parametrize("stream", [True, False])
async def test_calls_that_go_well(house, tmp_path, logged, path, stream):
    given = {} if path == "/v1/embeddings" else {"stream": stream}
    status, body = await ask(house, path, CALLS[path] | given)
    assert status == 200
    assert path == "/v1/embeddings" or MARK in body
    everything = kept(house, tmp_path, logged)
    assert MARK not in everything
    assert (TAG in everything) == ("metadata" in CALLS[path])
    assert "session ended" in everything


@pytest.mark.parametrize("path", CALLS)
async def test_calls_whose_caller_leaves(house, tmp_path, logged, path):
    await ask(house, path, CALLS[path] | ({} if path == "/v1/embeddings" else {"stream": True}), leaves=True)
    assert MARK not in kept(house, tmp_path, logged)


ERRORS = (
    EngineError("the model is down"),
    CallerError("too long"),
    ValueError(f"{MARK} in an exception"),
    KeyError(f"{MARK} in an exception"),
    RuntimeError(MARK, {"prompt": MARK}),
)


@pytest.mark.parametrize("path", CALLS)
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
async def test_calls_that_fail(house, tmp_path, logged, path, error):
    house.generator.error = house.embedder.error = error
    for stream, fails_at in itertools.product((True, False), (0, 2, 4)):
        house.generator.fails_at = fails_at
        given = {} if path == "/v1/embeddings" else {"stream": stream}
        status, body = await ask(house, path, CALLS[path] | given)
        begun = stream and fails_at > 0 and path != "/v1/embeddings"
        assert (status == 200) == begun
        if not begun or path == "/v1/chat/completions":
            failed = body.rpartition("event: error")[2]
            assert "error" in failed
            assert MARK not in failed
    assert MARK not in kept(house, tmp_path, logged)
    defect = not isinstance(error, EngineError | CallerError)
    assert ("session failed" in logged.getvalue()) == defect


@pytest.mark.parametrize("path", CALLS)
async def test_calls_that_make_no_sense(house, tmp_path, logged, path):
    bodies = [*WRONG, CALLS[path] | {MARK[:4]: MARK}, json.dumps(CALLS[path]).encode()[:-9], f'"{MARK}"'.encode()]
    for body in bodies:
        status, answered = await ask(house, path, body)
        assert status in (400, 404), body
        assert MARK not in json.loads(answered)["error"]["message"], body
    assert MARK not in kept(house, tmp_path, logged)


@pytest.mark.parametrize("path", CALLS)
async def test_a_defect_in_a_surface(house, tmp_path, logged, path, monkeypatch):
    def broken(*given):
        raise ValueError(f"{MARK} in an exception")

    for surface in (answers, embeddings):
        monkeypatch.setattr(surface, "lifecycle", broken)
    status, body = await ask(house, path, CALLS[path])
    assert status == 500
    assert MARK not in body
    assert MARK not in kept(house, tmp_path, logged)
    assert "request failed" in logged.getvalue()


@pytest.mark.parametrize("path", SPEECH)
@pytest.mark.parametrize("leaves", [True, False])
async def test_texts_that_are_spoken(house, tmp_path, logged, path, leaves):
    status, _ = await ask(house, path, SPEECH[path], leaves)
    assert status == 200
    assert MARK in house.synthesiser.clauses[0].text
    everything = kept(house, tmp_path, logged)
    assert MARK not in everything
    assert "session ended" in everything


@pytest.mark.parametrize("path", SPEECH)
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("after", [0, 1])
async def test_texts_whose_voice_fails(house, tmp_path, logged, monkeypatch, path, error, after):
    async def fail(clause):
        for _ in range(after):
            yield b"\x00\x20" * 48_000
        raise error

    monkeypatch.setattr(house.synthesiser, "synthesise", fail)
    status, body = await ask(house, path, SPEECH[path])
    assert (status == 200) == bool(after and path in STREAMED)
    assert MARK not in body
    assert MARK not in kept(house, tmp_path, logged)
    defect = not isinstance(error, EngineError | CallerError)
    assert ("session failed" in logged.getvalue()) == defect


@pytest.mark.parametrize("path", SPEECH)
async def test_texts_that_make_no_sense(house, tmp_path, logged, path):
    whole = json.dumps(SPEECH[path]).encode()
    text = next(name for name, value in SPEECH[path].items() if MARK in value)
    for body in (
        whole[:-1],
        f'"{MARK}"'.encode(),
        SPEECH[path] | {text: [MARK]},
        SPEECH[path] | {text: f"{MARK} " * 9_999},
    ):
        status, answered = await ask(house, path, body)
        assert status in (400, 413, 422), answered
        assert MARK not in answered
    assert MARK not in kept(house, tmp_path, logged)


async def test_tasks_that_are_never_asked_say_nothing(house, tmp_path, logged):
    """asyncio tells its own log of an exception that nobody saw."""

    async def broken():
        raise ValueError(f"{MARK} in an exception")

    task = asyncio.create_task(broken())
    await asyncio.wait((task,))
    loop = asyncio.get_running_loop()
    own = io.StringIO()
    handler = logging.StreamHandler(own)
    handler.setFormatter(JsonLines())
    logging.getLogger("asyncio").addHandler(handler)
    loop.call_exception_handler({"message": "Task exception was never retrieved", "exception": task.exception()})
    logging.getLogger("asyncio").removeHandler(handler)
    assert "never retrieved" in own.getvalue()
    assert MARK not in own.getvalue()
