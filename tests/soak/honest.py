"""Callers who behave, of four vendors' protocols, at a load that two cores carry with room to spare. Each call is
judged by the objectives (docs/objectives.md) and notes what it was given, to be compared with the ledger.

A cycle of `CYCLE_S` has a place for each call, so that the callers are in nobody's way, not even each other's: what
misses an objective while others attack does so because of them. Every call has an end of its own after `CALL_S`.
"""

import asyncio
import json
import os
import time
import uuid
from base64 import b64decode
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
from aiohttp import web

from antiphon.bench import measure, schedule
from antiphon.bench.clips import Clip
from antiphon.bench.protocols import deepgram
from antiphon.core.usage import Dimension

CYCLE_S = 24.0
CALL_S = 30.0
STREAMS = 2
STREAM_S = 30  # a live stream's length, before it is followed by the next
TOKENS = 32
BYTES_PER_MS = 48  # of 24 kHz, 16 bits
HEARD_S = 1.0  # beyond its length, until a server can be sure that a reply was heard
AGAIN_S = 2.0  # after which a stream that broke, or was refused, is opened again

# Milliseconds. What the objectives leave open is bounded as what they say of its like: a recording by its real-time
# factor of 1, an embedding and an inference as a whole generation, a typed question's spoken answer as a spoken one's.
TTFT_MS, TPOT_MS, TOTAL_MS, TTS_TTFB_MS, VOICE_TO_VOICE_MS, HEALTH_MS = 500, 15, 2000, 75, 800, 500
SLACK = float(os.environ.get("ANTIPHON_SOAK_SLACK", "1"))  # times so much, on a machine that is slow or shared
WRONG_WORDS = 0.3  # of a transcript, against the one that was given before anything else went on

SENTENCE = "The harbour was quiet that morning, and nobody had come down to the boats yet."
GONE = (OSError, EOFError, aiohttp.ClientError, ValueError, KeyError)


class Missed(Exception):
    """A call did not get what it asked for. The message says why, and holds no content."""


@dataclass(slots=True)
class Receipt:
    """One call: when (seconds, monotonic), in which session, what it was given, and whether that came to its end.
    `verdicts` has an entry for all that is judged: empty where every objective was met, else what was missed;
    `waited_ms` how long each took, to its first sign of life or, of an utterance, to its final.
    """

    kind: str
    begun: float
    ended: float = 0.0
    session: str = ""
    whole: bool = False
    counted: Counter[Dimension] = field(default_factory=Counter)
    verdicts: list[str] = field(default_factory=list)
    waited_ms: list[float] = field(default_factory=list)

    def judge(self, **latencies: tuple[float, float]) -> None:
        """Of each latency in milliseconds, what it was and what it may be."""
        self.verdicts.append(" ".join(name for name, (was, may_be) in latencies.items() if was > may_be * SLACK))
        self.waited_ms.append(next(iter(latencies.values()))[0])


async def doubling(request: web.Request) -> web.Response:
    """A server of tensors with the Open Inference Protocol, whose model doubles numbers."""
    if request.method == "GET":
        return web.json_response({"name": "double", "platform": "test", "inputs": [], "outputs": [], "ready": True})
    asked = await request.json()
    outputs = [{**each, "name": "y", "data": [2 * n for n in each["data"]]} for each in asked["inputs"]]
    return web.json_response({"model_name": "double", "outputs": outputs})


@asynccontextmanager
async def tensors():
    """That server's URL."""
    app = web.Application()
    app.router.add_route("*", "/{any:.*}", doubling)
    runner = web.AppRunner(app, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


class Callers:
    """Those of one server. `first_key` is whose OpenAI and Deepgram are, `second_key` whose the rest is; `recording` is
    a WAV file of `recording_ms`. `receipts` are of all calls that have ended.
    """

    def __init__(
        self, url: str, first_key: str, second_key: str, clips: list[Clip], recording: bytes, recording_ms: int
    ) -> None:
        self.receipts: list[Receipt] = []
        self._url, self._keys = url, (first_key, second_key)
        self._clips, self._recording, self._recording_ms = clips, recording, recording_ms
        self._asked = 0
        self._transcript: str | None = None
        self._spoken_bytes = 0

    async def __aenter__(self) -> "Callers":
        self._stack = AsyncExitStack()
        self._first, self._second = [
            await self._stack.enter_async_context(aiohttp.ClientSession(self._url, headers=headers))
            for headers in ({"Authorization": f"Bearer {self._keys[0]}"}, {"Authorization": f"Bearer {self._keys[1]}"})
        ]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def warm(self) -> None:
        """One call of each, not judged; what they are given is what is expected from then on."""
        before = len(self.receipts)
        for _, call in self._places():
            await call()
        cold = [f"{r.kind}: {r.verdicts}" for r in self.receipts[before:] if not r.whole]
        assert not cold, cold

    async def run(self, seconds: float) -> list[Receipt]:
        """Calls for that long, and waits until all have ended: their receipts."""
        before = len(self.receipts)
        end = time.monotonic() + seconds
        async with asyncio.TaskGroup() as group:
            for at, call in self._places():
                group.create_task(self._each_cycle(at, call, end))
            for n in range(STREAMS):
                group.create_task(self._streams(n, end))
            group.create_task(self._watch(end))
        return self.receipts[before:]

    def _places(self) -> list[tuple[float, Callable[[], Awaitable[None]]]]:
        """Seconds into the cycle, and what is called then."""
        return [
            *((at, self.chat) for at in (0.0, 6.0, 12.0, 18.0)),
            *((at, self.embedding) for at in (2.4, 14.4)),
            *((at, self.speech) for at in (3.2, 15.2)),
            *((at, self.elevenlabs) for at in (8.4, 20.4)),
            *((at, self.inference) for at in (5.0, 11.0, 17.0, 23.0)),
            (10.0, self.elevenlabs_live),
            (17.6, self.conversation),
            (22.0, self.recording),
        ]

    async def _each_cycle(self, at: float, call: Callable[[], Awaitable[None]], end: float) -> None:
        """On its schedule, however long the last one takes."""
        due = time.monotonic() + at
        async with asyncio.TaskGroup() as group:
            while due < end:
                await asyncio.sleep(due - time.monotonic())
                group.create_task(call())
                due += CYCLE_S

    @asynccontextmanager
    async def _call(self, kind: str, most_s: float = CALL_S):
        receipt = Receipt(kind, time.monotonic())
        try:
            async with asyncio.timeout(most_s):
                yield receipt
            receipt.whole = True
        except TimeoutError:
            receipt.verdicts.append("no end")
        except (Missed, *GONE) as error:
            receipt.verdicts.append(str(error) if isinstance(error, Missed) else type(error).__name__)
        receipt.ended = time.monotonic()
        self.receipts.append(receipt)

    # -- OpenAI --------------------------------------------------------------------------------------------------------

    async def chat(self) -> None:
        """A stream."""
        self._asked += 1
        question = [{"role": "user", "content": f"Tell me a short story about the number {self._asked}."}]
        body = {"model": "gpt-4o-mini", "messages": question, "max_completion_tokens": TOKENS, "stream": True}
        body["stream_options"] = {"include_usage": True}
        async with self._call("openai chat") as receipt, self._first.post("/v1/chat/completions", json=body) as answer:
            await _well(answer, receipt, "x-request-id")
            first = last = 0.0
            usage, done = None, False
            async for line in answer.content:
                done = done or line.startswith(b"data: [DONE]")
                if line.startswith(b"data: {"):
                    chunk = json.loads(line[6:])
                    if "error" in chunk:
                        raise Missed("broken off")
                    if any(choice["delta"].get("content") for choice in chunk["choices"]):
                        last = time.monotonic()
                        first = first or last
                        receipt.counted[Dimension.LLM_OUTPUT_TOKENS] += 1  # at least; the usage says exactly
                    usage = chunk.get("usage") or usage
            if not (done and usage and first):
                raise Missed("broken off")
            tokens, cached = usage["completion_tokens"], usage["prompt_tokens_details"]["cached_tokens"]
            receipt.counted[Dimension.LLM_OUTPUT_TOKENS] = tokens
            receipt.counted[Dimension.LLM_INPUT_TOKENS] = usage["prompt_tokens"] - cached
            receipt.counted[Dimension.LLM_CACHED_TOKENS] = cached
            receipt.judge(
                ttft=((first - receipt.begun) * 1000, TTFT_MS),
                tpot=((last - first) * 1000 / max(1, tokens - 1), TPOT_MS),
                total=((last - receipt.begun) * 1000, TOTAL_MS),
            )

    async def embedding(self) -> None:
        body = {"model": "all-minilm-l6-v2", "input": SENTENCE}
        async with self._call("openai embedding") as receipt, self._first.post("/v1/embeddings", json=body) as answer:
            await _well(answer, receipt, "x-request-id")
            told = await answer.json()
            receipt.counted[Dimension.EMBEDDING_TOKENS] = told["usage"]["prompt_tokens"]
            _judge_total(receipt)

    async def recording(self) -> None:
        form = aiohttp.FormData({"model": "whisper-1"})
        form.add_field("file", self._recording, filename="speech.wav")
        async with (
            self._call("openai recording") as receipt,
            self._first.post("/v1/audio/transcriptions", data=form) as answer,
        ):
            await _well(answer, receipt, "x-request-id")
            text = (await answer.json())["text"]
            self._transcript = self._transcript or text
            if (measure.word_errors(self._transcript, text).rate or 0) > WRONG_WORDS:
                raise Missed("other words")
            receipt.counted[Dimension.STT_AUDIO_MS] = self._recording_ms
            receipt.judge(rtf=((time.monotonic() - receipt.begun) * 1000, self._recording_ms))

    async def speech(self) -> None:
        body = {"model": "tts-1", "voice": "alloy", "input": SENTENCE, "response_format": "pcm"}
        async with self._call("openai speech") as receipt, self._first.post("/v1/audio/speech", json=body) as answer:
            await self._listen(answer, receipt, "x-request-id")

    async def conversation(self) -> None:
        """A typed question, answered aloud."""
        url = self._url.replace("http", "ws", 1) + "/v1/realtime?model=gpt-4o-mini"
        async with (
            self._call("openai realtime") as receipt,
            self._first.ws_connect(url, max_msg_size=1 << 24) as socket,
        ):
            told = await socket.receive_json()
            receipt.session = str(uuid.UUID(told["session"]["id"].removeprefix("sess_")))
            content = [{"type": "input_text", "text": "What is the capital of France?"}]
            item = {"type": "message", "role": "user", "content": content}
            await socket.send_json({"type": "conversation.item.create", "item": item})
            asked, first, size, played = time.monotonic(), 0.0, 0, 0.0
            await socket.send_json({"type": "response.create", "response": {"max_output_tokens": TOKENS}})
            while told["type"] != "response.done":
                told = await socket.receive_json()
                if told["type"] == "error":
                    raise Missed("an error")
                if told["type"] == "response.output_audio.delta":
                    first = first or time.monotonic()
                    piece = len(b64decode(told["delta"]))
                    size, played = size + piece, max(played, time.monotonic()) + piece / BYTES_PER_MS / 1000
                    receipt.counted[Dimension.TTS_AUDIO_MS] = size // BYTES_PER_MS
            if told["response"]["status"] not in ("completed", "incomplete") or not first:
                raise Missed(f"a response that {told['response']['status']}")
            receipt.judge(voice_to_voice=((first - asked) * 1000, VOICE_TO_VOICE_MS))
            # Who leaves before it was played pays for what was heard.
            await asyncio.sleep(played + HEARD_S - time.monotonic())

    # -- Deepgram ------------------------------------------------------------------------------------------------------

    async def _streams(self, number: int, end: float) -> None:
        """One after the other, as long as one of some length is left."""
        seed = 0
        while (seconds := min(STREAM_S, int(end - time.monotonic()))) >= 5:
            if not await self._stream(number, seconds, seed):
                await asyncio.sleep(AGAIN_S)
            seed += 1

    async def _stream(self, number: int, seconds: int, seed: int) -> bool:
        """Speech in real time; whether it came to its end. Each utterance is judged, or that it was refused."""
        plans = schedule.plan_streams(self._clips, STREAMS, samples=seconds * 16_000, chunk_samples=1_600, seed=seed)
        plan, heard = plans[number], []
        url = self._url.replace("http", "ws", 1) + "/v1/listen?model=nova-3&encoding=linear16&sample_rate=16000"
        async with self._call("deepgram live", seconds + CALL_S) as receipt:
            begun = asyncio.get_running_loop().create_future()

            async def speak(socket: aiohttp.ClientWebSocketResponse) -> None:
                start_ns = time.monotonic_ns()
                begun.set_result(start_ns)
                due_ns = start_ns + plan.phase_ns
                for chunk in schedule.chunks(plan):
                    due_ns += plan.chunk_ns
                    await asyncio.sleep((due_ns - time.monotonic_ns()) / 1e9)
                    await socket.send_bytes(chunk)
                await socket.send_str('{"type":"CloseStream"}')

            query = "&interim_results=true&endpointing=300"
            async with self._first.ws_connect(url + query, max_msg_size=1 << 20) as socket:
                receipt.session = socket._response.headers["dg-request-id"]
                speaking = asyncio.create_task(speak(socket))
                try:
                    start_ns, ended = await begun, False
                    async for message in socket:
                        if result := deepgram.result(message.data):
                            at_ns = time.monotonic_ns() - start_ns
                            heard.append(measure.TimedResult(at_ns, result.window, result.final, result.text))
                        ended = ended or json.loads(message.data)["type"] == "Metadata"
                finally:
                    speaking.cancel()
                if not ended:
                    raise Missed(f"closed with {socket.close_code}")
                receipt.counted[Dimension.STT_AUDIO_MS] = plan.samples // 16
        if not receipt.session:
            return False
        broken, receipt.verdicts = receipt.verdicts, []
        for verdict in measure.verdicts(plan, heard):
            if verdict.final_ms is None or verdict.ttfb_ms is None:
                receipt.verdicts.append(broken[0] if broken else "lost")
            else:
                receipt.judge(
                    final=(verdict.final_ms, measure.FINAL_OBJECTIVE_MS),
                    ttfb=(verdict.ttfb_ms, measure.TTFB_OBJECTIVE_MS),
                )
        return receipt.whole

    # -- ElevenLabs ----------------------------------------------------------------------------------------------------

    async def elevenlabs(self) -> None:
        url = "/v1/text-to-speech/joe/stream?output_format=pcm_24000"
        headers = {"xi-api-key": self._keys[1]}
        async with (
            self._call("elevenlabs speech") as receipt,
            self._second.post(url, json={"text": SENTENCE}, headers=headers) as answer,
        ):
            await self._listen(answer, receipt, "request-id")

    async def elevenlabs_live(self) -> None:
        """A text over a WebSocket, at once."""
        url = self._url.replace("http", "ws", 1) + "/v1/text-to-speech/joe/stream-input"
        headers = {"xi-api-key": self._keys[1]}
        async with (
            self._call("elevenlabs live") as receipt,
            self._second.ws_connect(f"{url}?output_format=pcm_24000&auto_mode=true", headers=headers) as socket,
        ):
            receipt.session = socket._response.headers["request-id"]
            await socket.send_json({"text": " "})
            asked, first, size, final = time.monotonic(), 0.0, 0, False
            await socket.send_json({"text": SENTENCE})
            await socket.send_json({"text": ""})
            async for message in socket:
                told = json.loads(message.data)
                if "error" in told:
                    raise Missed(str(told["error"])[:40])
                if told.get("audio"):
                    first = first or time.monotonic()
                    size += len(b64decode(told["audio"]))
                    receipt.counted[Dimension.TTS_AUDIO_MS] = size // BYTES_PER_MS
                final = final or bool(told.get("isFinal"))
            self._check_spoken(receipt, size, final)
            receipt.judge(ttfb=((first - asked) * 1000, TTS_TTFB_MS))

    # -- Open Inference ------------------------------------------------------------------------------------------------

    async def inference(self) -> None:
        numbers = [1.5, -2.0, 3.25]
        body = {"inputs": [{"name": "x", "shape": [3], "datatype": "FP32", "data": numbers}]}
        async with (
            self._call("open inference") as receipt,
            self._second.post("/v2/models/double/infer", json=body) as answer,
        ):
            await _well(answer, receipt, "x-request-id")
            if (await answer.json())["outputs"][0]["data"] != [3.0, -4.0, 6.5]:
                raise Missed("other numbers")
            receipt.counted[Dimension.INFERENCES] = 1
            receipt.counted[Dimension.INFERENCE_BYTES] = 2 * 3 * 4
            _judge_total(receipt)

    # -- in common -----------------------------------------------------------------------------------------------------

    async def _watch(self, end: float) -> None:
        """What a load balancer asks, each time over a connection of its own."""
        while time.monotonic() < end:
            async with self._call("health") as receipt, aiohttp.ClientSession() as http:
                for path in ("/healthz", "/readyz"):
                    async with http.get(self._url + path) as answer:
                        if answer.status != 200:
                            raise Missed(f"{path} {answer.status}")
                receipt.judge(late=((time.monotonic() - receipt.begun) * 1000, HEALTH_MS))
            await asyncio.sleep(0.5)

    async def _listen(self, answer: aiohttp.ClientResponse, receipt: Receipt, header: str) -> None:
        """Speech, as it comes."""
        await _well(answer, receipt, header)
        first, size = 0.0, 0
        async for data in answer.content.iter_any():
            first = first or time.monotonic()
            size += len(data)
            receipt.counted[Dimension.TTS_AUDIO_MS] = size // BYTES_PER_MS
        self._check_spoken(receipt, size, True)
        receipt.judge(ttfb=((first - receipt.begun) * 1000, TTS_TTFB_MS))

    def _check_spoken(self, receipt: Receipt, size: int, final: bool) -> None:
        """All of the sentence, about as long as it was the first time."""
        self._spoken_bytes = self._spoken_bytes or size
        if not final or not 0.8 < size / max(1, self._spoken_bytes) < 1.25:
            raise Missed("broken off")
        receipt.counted[Dimension.TTS_CHARACTERS] = len(SENTENCE)


async def _well(answer: aiohttp.ClientResponse, receipt: Receipt, header: str) -> None:
    """Raises `Missed` for an answer that is an error."""
    if answer.status != 200:
        raise Missed(f"status {answer.status}: {(await answer.text())[:120]}")
    receipt.session = answer.headers[header]


def _judge_total(receipt: Receipt) -> None:
    receipt.judge(total=((time.monotonic() - receipt.begun) * 1000, TOTAL_MS))
