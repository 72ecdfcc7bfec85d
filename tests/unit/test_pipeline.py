"""Everything that an engine says passes the filters of its call, whoever hears it: every surface, live, whole and kept,
conversations, and what they prompt their model with.

The routes are those of the server, on fakes. Each call below is made three times: as it is, when the canary arrives or
the test would be empty; with a filter that replaces it; and with one that fails at it.
"""

import asyncio
import base64
import json
import re
import wave
from io import BytesIO

import httpx
import pytest
from starlette.applications import Starlette

from antiphon.core.events import (
    Alternative,
    ChoiceEnded,
    FinishReason,
    ReasoningDelta,
    ScoredToken,
    TextDelta,
    TokenUsage,
    ToolCallDelta,
    ToolCallStarted,
)
from antiphon.core.specs import Role
from antiphon.routes import ROUTES
from antiphon.transports import table
from antiphon.transports.uploads import Uploads
from canary import CANARY, Failing, Replacing, holds
from session_house import House, audio, closed, until

HEARD = f"the {CANARY} sings."
SAID = audio(900, 900)
BASE = "http://test"
KEYS = {"Authorization": "Bearer secret", "api-key": "secret"}
TOKEN = {"Authorization": "Token secret"}
XI = {"xi-api-key": "secret"}
TOOL = {"type": "function", "function": {"name": "f"}}
BIRD = [{"role": "user", "content": "which bird?"}]


def bird(spec):
    """The canary in one piece, in two, among the scores, in thoughts, and in the arguments of a tool."""
    scored = (ScoredToken(CANARY, -0.1, (Alternative(f"{CANARY}s", -1.0),)),) if spec.sampling.logprobs else ()
    yield (ReasoningDelta(0, "a can", 1), ReasoningDelta(0, "ary?", 1))
    yield (TextDelta(0, "the can", 1),)
    yield (TextDelta(0, "ary. ", 1),)
    yield (TextDelta(0, f"a {CANARY}. ", 2, scored),)
    if spec.tools:
        yield (ToolCallStarted(0, 0, "call_1", "f"), ToolCallDelta(0, 0, '{"bird":"can', 1))
        yield (ToolCallDelta(0, 0, 'ary"}', 1),)
    yield (ChoiceEnded(0, FinishReason.TOOL_CALLS if spec.tools else FinishReason.STOP),)
    yield (TokenUsage(3, 8),)


class Socket:
    """The caller's end of a WebSocket. `got` is what came."""

    def __init__(self, app, path, query="", headers=TOKEN):
        self.got = []
        self.over = asyncio.Event()
        self._came = asyncio.Event()
        self._says = asyncio.Queue()
        self._says.put_nowait({"type": "websocket.connect"})
        listed = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        scope = {"type": "websocket", "path": path, "raw_path": path.encode(), "query_string": query.encode()}
        scope |= {"headers": listed, "subprotocols": [], "extensions": {"websocket.http.response": {}}, "root_path": ""}
        self._task = asyncio.create_task(app(scope, self._says.get, self._send))

    async def _send(self, message):
        self.got.append(message)
        self._came.set()
        if message["type"] in ("websocket.close", "websocket.http.response.body"):
            self.over.set()

    def says(self, *messages):
        for message in messages:
            given = {"bytes": message} if isinstance(message, bytes) else {"text": json.dumps(message)}
            self._says.put_nowait({"type": "websocket.receive", **given})

    async def until(self, *words, count=1):
        """Messages with one of the words have come so often, or the end has."""
        async with asyncio.timeout(60):
            while not self.over.is_set() and sum(any(w in repr(m) for w in words) for m in self.got) < count:
                self._came.clear()
                await self._came.wait()

    async def leaves(self):
        self._says.put_nowait({"type": "websocket.disconnect", "code": 1000})
        async with asyncio.timeout(60):
            await self._task
        return [message.get("text") or message.get("bytes") or repr(message) for message in self.got]


class Walk:
    """One call: where it goes, and what came of it."""

    def __init__(self, house, app):
        self.house = house
        self.app = app
        self._http = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=BASE)

    async def posts(self, path, headers=KEYS, **given):
        answer = await self._http.post(path, headers=headers, **given)
        return [answer.text, str(answer.status_code)]

    async def gets(self, path):
        return [(await self._http.get(path, headers=KEYS)).text]

    def opens(self, path, query="", headers=TOKEN):
        return Socket(self.app, path, query, headers)


# -- the calls ---------------------------------------------------------------------------------------------------------


def posting(path, headers=KEYS, **body):
    async def call(walk):
        return await walk.posts(path, headers, json=body)

    return call


async def kept(walk):
    """A response that is kept, shown again, and gone on from."""
    (first, _) = told = await walk.posts(
        "/v1/responses", json={"model": "counter", "input": "which bird?", "store": True}
    )
    id = json.loads(first).get("id")
    if id is not None:
        told += await walk.gets(f"/v1/responses/{id}")
        next_ = {"model": "counter", "input": "again", "previous_response_id": id}
        told += await walk.posts("/v1/responses", json=next_)
    return told


async def in_the_background(walk):
    asked = {
        "model": "counter",
        "input": "which bird?",
        "background": True,
        "tools": [{"type": "function", "name": "f"}],
    }
    (begun, _) = told = await walk.posts("/v1/responses", json=asked)
    async with asyncio.timeout(60):
        while '"in_progress"' in told[-1] or '"queued"' in told[-1] or len(told) == 2:
            told += await walk.gets(f"/v1/responses/{json.loads(begun)['id']}")
            await asyncio.sleep(0)
    return told


async def over_a_socket(walk):
    """One response after the other, the second from the first."""
    socket = walk.opens("/v1/responses", headers=KEYS)
    asked = {"type": "response.create", "model": "counter", "input": "which bird?", "store": False}
    socket.says(asked)
    await socket.until("response.completed", "response.failed")
    ids = [json.loads(m["text"])["response"]["id"] for m in socket.got if "response.completed" in m.get("text", "")]
    if ids:
        socket.says(asked | {"input": "again", "previous_response_id": ids[-1]})
        await socket.until("response.completed", count=2)
    return await socket.leaves()


async def transcribed(walk):
    recording = BytesIO()
    with wave.open(recording, "wb") as written:
        written.setnchannels(1)
        written.setsampwidth(2)
        written.setframerate(16_000)
        written.writeframes(SAID)
    form = {"model": "nova-3", "response_format": "verbose_json", "timestamp_granularities[]": "word"}
    return await walk.posts("/v1/audio/transcriptions", data=form, files={"file": ("a.wav", recording.getvalue())})


async def recording(walk):
    query = "model=nova-3&encoding=linear16&sample_rate=16000&utterances=true"
    return await walk.posts(f"/v1/listen?{query}", TOKEN, content=SAID)


def listening(path, query, *ends):
    async def call(walk):
        socket = walk.opens(path, query)
        for at in range(0, len(SAID), 3200):
            socket.says(SAID[at : at + 3200])
            await asyncio.sleep(0)
        socket.says(*ends)
        async with asyncio.timeout(60):
            await socket.over.wait()
        return await socket.leaves()

    return call


def speaking(path, query, headers, *messages):
    async def call(walk):
        socket = walk.opens(path, query, headers)
        socket.says(*messages)
        async with asyncio.timeout(60):
            await socket.over.wait()
        return await socket.leaves()

    return call


async def says(socket, pcm):
    for at in range(0, len(pcm), 4800):
        appended = base64.b64encode(pcm[at : at + 4800]).decode()
        socket.says({"type": "input_audio_buffer.append", "audio": appended})
        await asyncio.sleep(0)


async def talked(walk):
    """A spoken turn, answered aloud with a call of a tool; a second one; and every item shown again."""
    socket = walk.opens("/v1/realtime", "model=counter", KEYS)
    heard = {"format": {"type": "audio/pcm", "rate": 24000}, "transcription": {"model": "nova-3"}}
    heard["turn_detection"] = {"type": "server_vad", "silence_duration_ms": 300}
    session = {"type": "realtime", "audio": {"input": heard, "output": {"voice": "alloy"}}}
    session["tools"] = [{"type": "function", "name": "f", "parameters": {"type": "object"}}]
    socket.says({"type": "session.update", "session": session})
    await socket.until("session.updated")
    for n in (1, 2):
        begun = len(walk.house.generator.calls)
        await says(socket, b"\x00\x20" * 24 * 900 + bytes(48 * 200))
        await until(lambda: len(walk.house.generator.calls) > begun or socket.over.is_set())  # noqa: B023
        await says(socket, bytes(48 * 700))
        await socket.until("response.done", count=n)
        walk.house.clock.advance_ms(5_000)  # and it was heard to its end
    events = [json.loads(message["text"]) for message in socket.got if message.get("text")]
    items = [event["item"]["id"] for event in events if event["type"] == "conversation.item.added"]
    for n, id in enumerate(items, 1):
        socket.says({"type": "conversation.item.retrieve", "item_id": id})
        await socket.until("conversation.item.retrieved", count=n)
    return await socket.leaves()


PIECES = ("delta", "content", "text", "reasoning_content", "arguments")  # of what a client puts together
ASKED = {"model": "counter", "messages": BIRD}
TENSOR = [{"name": "x", "datatype": "BYTES", "shape": [1], "data": [f"the {CANARY}"]}]
SPOKEN = {"text": f"one {CANARY}.", "model_id": "tone"}
ALIGNED = "/v1/text-to-speech/alloy/with-timestamps?output_format=pcm_16000"
CALLS = {
    "chat": posting("/v1/chat/completions", **ASKED, logprobs=True, tools=[TOOL]),
    "chat, streamed": posting("/v1/chat/completions", **ASKED, logprobs=True, tools=[TOOL], stream=True),
    "completion": posting("/v1/completions", model="counter", prompt="which bird?", logprobs=1),
    "completion, streamed": posting("/v1/completions", model="counter", prompt="which bird?", logprobs=1, stream=True),
    "response": posting(
        "/v1/responses", model="counter", input="which bird?", tools=[{"type": "function", "name": "f"}]
    ),
    "response, streamed": posting("/v1/responses", model="counter", input="which bird?", stream=True),
    "response, kept": kept,
    "response, in the background": in_the_background,
    "responses over a socket": over_a_socket,
    "tensors": posting("/v2/models/tensors/infer", inputs=TENSOR),
    "transcription": transcribed,
    "Deepgram's recording": recording,
    "Deepgram's stream": listening(
        "/v1/listen",
        "model=nova-3&encoding=linear16&sample_rate=16000&interim_results=true",
        {"type": "CloseStream"},
    ),
    "Flux": listening("/v2/listen", "model=nova-3&encoding=linear16&sample_rate=16000", {"type": "CloseStream"}),
    "Realtime": talked,
    "ElevenLabs' times": posting(ALIGNED, XI, **SPOKEN),
    "ElevenLabs' times, streamed": posting(ALIGNED.replace("with", "stream/with"), XI, **SPOKEN),
    "ElevenLabs' stream": speaking(
        "/v1/text-to-speech/alloy/stream-input",
        "model_id=tone&output_format=pcm_16000&sync_alignment=true",
        XI,
        {"text": " "},
        {"text": f"one {CANARY}. "},
        {"text": ""},
    ),
}
# Those whose sound is all that leaves.
SOUND = {
    "speech": posting("/v1/audio/speech", model="tone", voice="alloy", input="one two.", response_format="pcm"),
    "speech, as events": posting(
        "/v1/audio/speech", model="tone", voice="alloy", input="one two.", response_format="pcm", stream_format="sse"
    ),
    "ElevenLabs' dialogue": posting(
        "/v1/text-to-dialogue?output_format=pcm_16000",
        XI,
        inputs=[{"text": "one two.", "voice_id": "alloy"}],
        model_id="tone",
    ),
    "ElevenLabs' speech": posting(
        "/v1/text-to-speech/alloy?output_format=pcm_16000", XI, text="one two.", model_id="tone"
    ),
    "Deepgram's speech": posting("/v1/speak?model=alloy&encoding=linear16&container=none", TOKEN, text="one two."),
    "Flux's speech": speaking(
        "/v2/speak",
        "model=alloy&encoding=linear16&sample_rate=16000",
        TOKEN,
        {"type": "Speak", "text": "one two."},
        {"type": "Flush"},
        {"type": "Close"},
    ),
    "Deepgram's live speech": speaking(
        "/v1/speak",
        "model=alloy&encoding=linear16&sample_rate=16000",
        TOKEN,
        {"type": "Speak", "text": "one two."},
        {"type": "Flush"},
        {"type": "Close"},
    ),
}


# -- the walk ----------------------------------------------------------------------------------------------------------


@pytest.fixture
async def walk():
    house = House()
    house.keep_s["acme"] = 60
    house.generator.script = bird
    house.recogniser.hear = lambda utterance: HEARD
    house.keeps, put = [], house.kept.put

    async def noted(project, keep, keep_s):
        house.keeps.append(keep)
        await put(project, keep, keep_s)

    house.kept.put = noted
    await house.runner.start()
    app = Starlette(routes=table.routes(ROUTES, house.door, house.clock, Uploads(1 << 24, 1 << 26)))
    yield Walk(house, app)
    await house.close()


@pytest.mark.parametrize("name", CALLS)
async def test_without_a_filter_the_canary_arrives(walk, name):
    assert CANARY in _joined(await CALLS[name](walk))
    await closed()


@pytest.mark.parametrize("name", CALLS)
async def test_a_filter_reaches_whoever_hears(walk, name):
    walk.house.filters = lambda principal: (Replacing(),)
    told = await CALLS[name](walk)
    assert CANARY not in _joined(told)
    assert "======" in _joined(told) or "ElevenLabs" in name
    assert any(word in _joined(told) for word in ("200", "response.completed", "response.done", "1000"))
    _nothing_within(walk.house)
    await closed()


async def test_it_reaches_every_part_of_a_conversation(walk):
    """Captions, transcripts, speech's text, arguments, items as they are kept, and prompts, some of which were made
    ahead: at a pause, before the turn was over.
    """
    house, ahead = walk.house, []
    generate = house.sessions.generate

    def noted(*given, held=False):
        ahead.append(held)
        return generate(*given, held=held)

    house.sessions.generate = noted
    house.filters = lambda principal: (Replacing(),)
    told = [each for each in await talked(walk) if each.startswith("{")]
    shown = {json.loads(each)["type"] for each in told if "======" in each and "type" in json.loads(each)}
    assert shown >= {
        "conversation.item.input_audio_transcription.delta",
        "conversation.item.input_audio_transcription.completed",
        "response.output_audio_transcript.delta",
        "response.output_audio_transcript.done",
        "response.function_call_arguments.delta",
        "response.function_call_arguments.done",
        "response.output_item.done",
        "response.done",
        "conversation.item.retrieved",
    }
    prompts = [spec.prompt for spec, _ in house.generator.calls]
    assert all(holds(prompt, "======") for prompt in prompts)
    assert True in ahead
    said = [message.text for message in prompts[-1] if message.role is Role.ASSISTANT]
    assert any("======" in text for text in said)
    _nothing_within(house)
    await closed()


async def test_where_a_filter_fails_in_a_reply_the_conversation_goes_on(walk):
    walk.house.recogniser.hear = lambda utterance: "which bird is that?"
    walk.house.filters = lambda principal: (Failing(),)
    told = await talked(walk)
    assert CANARY not in _joined(told)
    done = [json.loads(each)["response"] for each in told if '"response.done"' in each]
    assert [response["status"] for response in done] == ["failed", "failed"]
    assert all(response["status_details"]["error"] for response in done)
    _nothing_within(walk.house)
    await closed()


@pytest.mark.parametrize("name", [*CALLS, *SOUND])
async def test_where_a_filter_fails_nothing_is_heard(walk, name):
    walk.house.filters = lambda principal: (Failing(sound=name in SOUND or "ElevenLabs" in name),)
    told = await (CALLS | SOUND)[name](walk)
    assert CANARY not in _joined(told)
    _says_so(told)
    _nothing_within(walk.house)
    await closed()


def _joined(told):
    """What came, and the pieces of a stream put together as its client does."""
    text = "\n".join(each.decode(errors="replace") if isinstance(each, bytes) else each for each in told)
    pieces = {name: "".join(re.findall(rf'"{name}":"((?:[^"\\]|\\.)*)"', text)) for name in PIECES}
    return "\n".join((text, text.replace('","', ""), *pieces.values()))


def _says_so(told):
    """In the vendor's words, which are all different: that it failed, for a reason of the server's."""
    assert any(word in _joined(told) for word in ("error", "Error", "failed", "1011"))


def _nothing_within(house):
    """Not in what prompts were made of, later ones or ahead, nor in what is kept."""
    assert not holds(tuple(spec.prompt for spec, _ in house.generator.calls))
    assert not holds(tuple(house.keeps))
