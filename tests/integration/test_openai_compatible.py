"""The client of servers with OpenAI's API, against a server on loopback that does what it is told to."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from antiphon.core.capabilities import settle
from antiphon.core.errors import (
    AntiphonError,
    CallerError,
    CapacityError,
    ContextLengthExceeded,
    EngineError,
    EngineMisconfigured,
    EngineTimeout,
)
from antiphon.core.events import ChoiceEnded, FinishReason, Generated, TextDelta, TokenUsage
from antiphon.core.ports import EngineCall
from antiphon.core.specs import GenerateSpec, Image, Message, Role, Sampling, Tool
from antiphon.engines.openai_compatible import Limits, OpenAICompatible, OpenAICompatibleEmbedder
from antiphon.testing import FakeClock

SPEC = GenerateSpec("public", (Message(Role.USER, "Tell me of the albatross, please."),), stream=True)
CALL = EngineCall("0c5f9f2c-6b0f-4c58-8f8b-6a4f4a3c0f11")
HELLO = b'data: {"choices":[{"index":0,"delta":{"content":"Hello"}}]}\n\n'
STOP = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":4,"completion_tokens":2}}\n\n'
DONE = b"data: [DONE]\n\n"
WHOLE = {
    "choices": [{"index": 0, "message": {"content": "Hello"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 4, "completion_tokens": 2},
}
ALL = [TextDelta(0, "Hello", 1), ChoiceEnded(0, FinishReason.STOP), TokenUsage(4, 2)]

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Server:
    """`handler` is what answers; `requests` what was asked."""

    def __init__(self) -> None:
        self.handler: Handler | None = None
        self.requests: list[tuple[web.Request, Any]] = []
        self.connections: set[object] = set()
        self.asked = asyncio.Event()
        self.left = asyncio.Event()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append((request, await request.json() if request.can_read_body else None))
        self.connections.add(request.transport)
        self.asked.set()
        assert self.handler is not None
        try:
            return await self.handler(request)
        except (ConnectionError, asyncio.CancelledError):
            self.left.set()
            raise

    def streams(self, *pieces: bytes | float) -> None:
        """Writes `bytes`, sleeps numbers of seconds."""

        async def handler(request: web.Request) -> web.StreamResponse:
            response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
            await response.prepare(request)
            for piece in pieces:
                if isinstance(piece, bytes):
                    await response.write(piece)
                else:
                    await asyncio.sleep(piece)
            return response

        self.handler = handler

    def answers(self, body: object, status: int = 200, **headers: str) -> None:
        async def handler(request: web.Request) -> web.StreamResponse:
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            told = {name.replace("_", "-"): value for name, value in headers.items()}
            return web.Response(body=data, status=status, headers=told, content_type="application/json")

        self.handler = handler


@pytest.fixture
async def server() -> AsyncIterator[tuple[Server, str]]:
    told = Server()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", told.handle)
    async with TestServer(app, handler_cancellation=True) as running:
        yield told, str(running.make_url("/")).rstrip("/")


@pytest.fixture
async def engine(server: tuple[Server, str]) -> AsyncIterator[OpenAICompatible]:
    limits = Limits(outstanding=2, answer_bytes=10_000, event_bytes=1_000, silence_s=0.4)
    made = OpenAICompatible(server[1], "served", "openai", clock=FakeClock(), api_key="secret", limits=limits)
    yield made
    assert made.outstanding == 0
    await made.close()


async def batches(
    engine: OpenAICompatible, spec: GenerateSpec = SPEC, call: EngineCall = CALL
) -> list[tuple[Generated | TokenUsage, ...]]:
    async with aclosing(engine.generate(spec, call)) as produced:
        return [batch async for batch in produced]


async def events(engine: OpenAICompatible, spec: GenerateSpec = SPEC) -> list[Generated | TokenUsage]:
    return [event for batch in await batches(engine, spec) for event in batch]


async def test_a_stream(server: tuple[Server, str], engine: OpenAICompatible) -> None:
    server[0].streams(HELLO, STOP, USAGE, DONE)
    assert await events(engine) == ALL
    request, body = server[0].requests[0]
    assert request.path == "/v1/chat/completions"
    assert request.headers["Authorization"] == "Bearer secret"
    assert request.headers["X-Request-Id"] == CALL.id
    assert "gzip" not in request.headers["Accept-Encoding"]
    assert body["stream_options"] == {"include_usage": True}


async def test_a_whole_answer_that_could_not_be_given_up_otherwise_is_a_stream(server: tuple[Server, str]) -> None:
    server[0].streams(HELLO, 0.01, HELLO, STOP, USAGE, DONE)
    whole = replace(SPEC, stream=False)
    engine = OpenAICompatible(server[1], "served", "bentoml", clock=FakeClock(), limits=Limits(answer_bytes=1_000))
    hello = TextDelta(0, "Hello", 1)
    assert await batches(engine, whole) == [(hello, hello, *ALL[1:])]
    assert server[0].requests[0][1]["stream"] is True
    server[0].streams(*(HELLO, 0.01) * 40, STOP, USAGE, DONE)
    with pytest.raises(EngineError, match="more than 1000 bytes"):
        await batches(engine, whole)
    server[0].answers(WHOLE)
    await batches(engine, replace(whole, tools=(Tool("t"),)))  # not every server's streams call tools as well
    assert "stream" not in server[0].requests[-1][1]
    await engine.close()


async def test_what_a_caller_asks_of_the_engine_crosses_the_wire(server: tuple[Server, str]) -> None:
    server[0].streams(HELLO, STOP, USAGE, DONE)
    picture = "data:image/png;base64,iVBORw0KGgo="
    prompt = (Message(Role.USER, "What?", parts=("What?", Image(picture, param="messages[0].content[1].image_url"))),)
    sampling = Sampling(logit_bias=(("50256", -100.0),), top_k=5, stop_token_ids=(7,), bad_words=("no",))
    spec = replace(SPEC, prompt=prompt, sampling=sampling, reasoning_effort="high")
    engine = OpenAICompatible(server[1], "served", "vllm", clock=FakeClock())
    assert settle(spec, engine.abilities) == (spec, frozenset())
    assert await events(engine, spec) == ALL
    await engine.close()
    _, body = server[0].requests[0]
    shown = {"type": "image_url", "image_url": {"url": picture}}
    assert body["messages"] == [{"role": "user", "content": [{"type": "text", "text": "What?"}, shown]}]
    assert body["logit_bias"] == {"50256": -100.0}
    assert (body["top_k"], body["stop_token_ids"], body["bad_words"]) == (5, [7], ["no"])
    assert body["reasoning_effort"] == "high"


async def test_a_picture_that_a_server_quotes_is_repeated_to_nobody(server: tuple[Server, str]) -> None:
    picture = "data:image/png;base64,iVBORw0KGgo" + "A" * 64
    server[0].answers({"error": {"message": f"cannot read {picture}", "param": "messages"}}, 400)
    engine = OpenAICompatible(server[1], "served", "vllm", clock=FakeClock())
    with pytest.raises(CallerError) as refused:
        await events(engine, replace(SPEC, prompt=(Message(Role.USER, "", parts=(Image(picture),)),)))
    await engine.close()
    assert "iVBORw" not in refused.value.message


async def test_a_whole_answer(server: tuple[Server, str], engine: OpenAICompatible) -> None:
    server[0].answers(WHOLE)
    got = await events(engine, replace(SPEC, stream=False))
    assert got == [TextDelta(0, "Hello", 2), ChoiceEnded(0, FinishReason.STOP), TokenUsage(4, 2)]
    assert "stream" not in server[0].requests[0][1]


async def test_reads_that_split_anywhere(server: tuple[Server, str], engine: OpenAICompatible) -> None:
    data = HELLO + STOP + USAGE + DONE
    server[0].streams(*(piece for byte in data for piece in (bytes([byte]), 0.0)))
    assert await events(engine) == ALL


async def test_nothing_is_held_back(server: tuple[Server, str], engine: OpenAICompatible) -> None:
    server[0].streams(HELLO, 0.1, HELLO, STOP, 0.1, USAGE, DONE)
    got = await batches(engine)
    assert got[0] == (TextDelta(0, "Hello", 1),)
    assert [event for batch in got[1:] for event in batch] == ALL


async def test_a_connection_serves_call_after_call(server: tuple[Server, str], engine: OpenAICompatible) -> None:
    server[0].streams(HELLO, STOP, USAGE, DONE, 0.02)  # its end comes late
    for _ in range(3):
        assert await events(engine) == ALL
    assert len(server[0].connections) == 1


async def test_an_end_that_does_not_come_is_not_waited_for(
    server: tuple[Server, str], engine: OpenAICompatible
) -> None:
    server[0].streams(HELLO, STOP, USAGE, DONE, 5.0)
    assert await asyncio.wait_for(events(engine), 2) == ALL
    await asyncio.wait_for(server[0].left.wait(), 2)


@pytest.mark.parametrize("last", [USAGE.rstrip(), USAGE.rstrip() + b"\n", DONE.rstrip(), b"data: [DO"])
async def test_a_last_event_that_is_not_ended(
    server: tuple[Server, str], engine: OpenAICompatible, last: bytes
) -> None:
    server[0].streams(HELLO, STOP, *([] if last.startswith(USAGE[:20]) else [USAGE]), last)
    assert await events(engine) == ALL


async def test_an_end_of_the_choice_that_is_not_ended(server: tuple[Server, str], engine: OpenAICompatible) -> None:
    server[0].streams(HELLO, STOP.rstrip())
    assert (await events(engine))[:2] == ALL[:2]


async def test_an_end_without_done(server: tuple[Server, str], engine: OpenAICompatible) -> None:
    server[0].streams(HELLO, STOP, USAGE)
    assert await events(engine) == ALL


@pytest.mark.parametrize(
    "pieces",
    [
        (HELLO,),  # the answer ends
        (HELLO, DONE),
        (HELLO, b"data: {\n\n"),
        (HELLO, b'data: {"error":{"message":"CUDA out of memory"}}\n\n', DONE),
        (HELLO, b'data: {"error":{"message":"x"}}'),  # LitServe's, whose last event does not end
        (HELLO, b"data: " + b"x" * 3000),
        (b"",),
    ],
)
async def test_a_stream_that_goes_wrong(
    server: tuple[Server, str], engine: OpenAICompatible, pieces: tuple[bytes, ...]
) -> None:
    server[0].streams(*pieces)
    with pytest.raises(EngineError):
        await events(engine)


async def test_a_parameter_of_open_engines_alone_is_named(server: tuple[Server, str], engine: OpenAICompatible) -> None:
    server[0].answers({"error": {"message": "No.", "param": "top_k"}}, 400)
    with pytest.raises(CallerError) as failed:
        await events(engine)
    assert failed.value.param == "top_k"


HOT = {"message": "Too hot.", "type": "BadRequestError", "param": "temperature", "code": 400}


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (HOT, CallerError, "Too hot."),
        (HOT | {"message": "No Tell me of the albatross"}, CallerError, "The model's server refused the request."),
        (HOT | {"message": "The maximum context length is 9"}, ContextLengthExceeded, "The maximum context"),
        (HOT | {"code": "400"}, CallerError, "Too hot."),  # LiteLLM's
        (HOT | {"code": 404}, EngineMisconfigured, "The model's server answered 404."),
        (HOT | {"code": 503}, CapacityError, "The model's server is full."),
        (HOT | {"code": 500}, EngineError, "The model's server answered 500."),
        (HOT | {"code": "invalid"}, EngineError, "The model's server failed."),
        (HOT | {"code": 4000}, EngineError, "The model's server failed."),
        ("Too hot.", EngineError, "The model's server failed."),
        ([], EngineError, "The model's server failed."),
    ],
)
async def test_an_error_in_the_place_of_an_answer_is_blamed_by_its_code(
    server: tuple[Server, str],
    engine: OpenAICompatible,
    error: object,
    kind: type[AntiphonError],
    message: str,
    stream: bool,
) -> None:
    """vLLM 0.32 refuses such as a token that there is not after it has sent the stream's status."""
    told = json.dumps({"error": error}).encode()
    if stream:
        server[0].streams(b"data: " + told + b"\n\n", DONE)
    else:
        server[0].answers(told)
    with pytest.raises(kind) as failed:
        await events(engine, replace(SPEC, stream=stream))
    assert type(failed.value) is kind
    assert failed.value.message.startswith(message)
    assert failed.value.param == ("temperature" if isinstance(failed.value, CallerError) else None)


async def test_an_error_in_mid_answer_is_the_engines(server: tuple[Server, str], engine: OpenAICompatible) -> None:
    server[0].streams(HELLO, b"data: " + json.dumps({"error": HOT}).encode() + b"\n\n", DONE)
    with pytest.raises(EngineError, match="failed while it was answering"):
        await events(engine)


async def test_death_in_mid_stream(server: tuple[Server, str], engine: OpenAICompatible) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(HELLO)
        await asyncio.sleep(0.05)
        assert request.transport is not None
        request.transport.abort()
        return response

    server[0].handler = handler
    async with aclosing(engine.generate(SPEC, CALL)) as produced:
        assert await anext(produced) == (TextDelta(0, "Hello", 1),)
        with pytest.raises(EngineError) as failed:
            await anext(produced)
    assert failed.value.status == 502


async def test_silence(server: tuple[Server, str], engine: OpenAICompatible) -> None:
    server[0].streams(HELLO, 5.0)
    with pytest.raises(EngineTimeout):
        await events(engine)
    await asyncio.wait_for(server[0].left.wait(), 2)


@pytest.mark.parametrize("stream", [True, False])
async def test_the_deadline_travels(server: tuple[Server, str], engine: OpenAICompatible, stream: bool) -> None:
    server[0].streams(*(piece for _ in range(50) for piece in (HELLO, 0.1)))
    with pytest.raises(EngineTimeout):
        await batches(engine, replace(SPEC, stream=stream), EngineCall(CALL.id, deadline_ns=150_000_000))
    await asyncio.wait_for(server[0].left.wait(), 2)


async def test_a_deadline_that_has_passed(server: tuple[Server, str], engine: OpenAICompatible) -> None:
    with pytest.raises(EngineTimeout):
        await batches(engine, call=EngineCall(CALL.id, deadline_ns=0))
    assert not server[0].requests


async def test_closing_reaches_the_server(server: tuple[Server, str], engine: OpenAICompatible) -> None:
    server[0].streams(HELLO, 5.0)
    async with aclosing(engine.generate(SPEC, CALL)) as produced:
        assert await anext(produced) == (TextDelta(0, "Hello", 1),)
    await asyncio.wait_for(server[0].left.wait(), 0.3)


@pytest.mark.parametrize("after", [0.0, 0.05])
async def test_cancelling_reaches_the_server(
    server: tuple[Server, str], engine: OpenAICompatible, after: float
) -> None:
    server[0].streams(5.0)
    calling = asyncio.create_task(events(engine, replace(SPEC, stream=False)))
    await asyncio.wait_for(server[0].asked.wait(), 2)
    await asyncio.sleep(after)
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling
    await asyncio.wait_for(server[0].left.wait(), 0.3)


@pytest.mark.parametrize(
    ("status", "kind", "told"),
    [
        (400, CallerError, 400),
        (413, CallerError, 400),
        (422, CallerError, 400),
        (401, EngineMisconfigured, 502),
        (403, EngineMisconfigured, 502),
        (404, EngineMisconfigured, 502),
        (302, EngineError, 502),
        (429, CapacityError, 429),
        (503, CapacityError, 429),
        (500, EngineError, 502),
        (408, EngineTimeout, 504),
        (504, EngineTimeout, 504),
    ],
)
async def test_errors_by_blame(
    server: tuple[Server, str], engine: OpenAICompatible, status: int, kind: type[AntiphonError], told: int
) -> None:
    server[0].answers({"error": {"message": "No.", "param": "temperature"}}, status, Retry_After="7", Location="/x")
    with pytest.raises(kind) as failed:
        await events(engine)
    assert type(failed.value) is kind
    assert failed.value.status == told
    assert failed.value.retry_after_s == (7 if kind is CapacityError else None)
    assert failed.value.param == ("temperature" if kind is CallerError else None)
    assert failed.value.message.startswith("No." if kind is CallerError else "The model")
    assert len(server[0].requests) == 1


@pytest.mark.parametrize("told", ["Wed, 21 Oct 2026 07:28:00 GMT", "", "-1", "٣", "9" * 5000])
async def test_a_time_to_retry_that_is_no_number(
    server: tuple[Server, str], engine: OpenAICompatible, told: str
) -> None:
    server[0].answers({}, 429, Retry_After=told)
    with pytest.raises(CapacityError) as failed:
        await events(engine)
    assert failed.value.retry_after_s == 1


SILENT = "The model's server refused the request."


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"error": {"message": "Too hot.", "type": "x", "code": 400}}, "Too hot."),  # OpenAI, vLLM
        ({"object": "error", "message": "Too hot.", "type": "x", "code": 400}, "Too hot."),  # SGLang, TensorRT-LLM
        ({"detail": "Too hot."}, "Too hot."),  # FastAPI: Triton, LitServe
        ({"error": "Too hot."}, "Too hot."),
        ({"error": {"message": "Bad message: 'tell Me of the albatross'"}}, SILENT),
        ({"error": {"message": "Bad message: Tell me of the albatross"}}, SILENT),
        ({"detail": [{"loc": ["body"], "input": "Tell me"}]}, SILENT),
        ({"error": {"message": ""}}, SILENT),
        (b"<html>", SILENT),
        (b'{"error":{"code":' + b"[" * 50_000, SILENT),
        ({"error": {"message": "x" * 5000}}, "x" * 300),
    ],
)
async def test_a_servers_words_without_content(
    server: tuple[Server, str], engine: OpenAICompatible, body: object, message: str
) -> None:
    server[0].answers(body, 400)
    with pytest.raises(CallerError) as failed:
        await events(engine)
    assert failed.value.message == message
    assert failed.value.param is None


async def test_a_conversation_that_is_too_long(server: tuple[Server, str], engine: OpenAICompatible) -> None:
    message = "This model's maximum context length is 2048 tokens. However, you requested 4000 tokens."
    server[0].answers({"error": {"message": message, "param": "input_tokens"}}, 400)
    with pytest.raises(ContextLengthExceeded) as failed:
        await events(engine)
    assert failed.value.message == message
    assert failed.value.param is None  # no parameter that was sent is called so


@pytest.mark.parametrize(
    "error",
    [
        {"message": "The input (4000 tokens) is longer than the model's context length (2048 tokens)."},
        {"message": "the request exceeds the available context size", "type": "exceed_context_size_error"},
        {"message": "Prompt length (4000) should not exceed max_seq_len (2048)"},
        {"message": "Tell me of the albatross", "code": "context_length_exceeded"},
        {"code": "context_length_exceeded"},
    ],
)
async def test_too_long_is_said_in_words_that_clients_know(
    server: tuple[Server, str], engine: OpenAICompatible, error: dict[str, str]
) -> None:
    server[0].answers({"error": error}, 400)
    with pytest.raises(ContextLengthExceeded, match="maximum context length") as failed:
        await events(engine)
    assert "Tell me" not in failed.value.message


async def test_an_error_without_an_end_is_bounded(server: tuple[Server, str], engine: OpenAICompatible) -> None:
    server[0].answers(b"x" * 1_000_000, 400)
    with pytest.raises(CallerError, match="refused the request"):
        await events(engine)


@pytest.mark.parametrize("body", [b"{", b"[]", {"choices": []}, {"choices": [{"message": {"content": "x"}}]}])
async def test_a_whole_answer_that_is_none(server: tuple[Server, str], engine: OpenAICompatible, body: object) -> None:
    server[0].answers(body)
    with pytest.raises(EngineError):
        await events(engine, replace(SPEC, stream=False))


async def test_a_whole_answer_is_bounded(server: tuple[Server, str], engine: OpenAICompatible) -> None:
    server[0].answers(WHOLE | {"padding": "x" * 20_000})
    with pytest.raises(EngineError, match="10000 bytes"):
        await events(engine, replace(SPEC, stream=False))


async def test_a_compressed_answer_is_not_understood(server: tuple[Server, str], engine: OpenAICompatible) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.json_response(WHOLE)
        response.enable_compression(web.ContentCoding.gzip)
        return response

    server[0].handler = handler
    with pytest.raises(EngineError):
        await events(engine, replace(SPEC, stream=False))


async def test_a_slow_reader_holds_the_server_back(server: tuple[Server, str], engine: OpenAICompatible) -> None:
    written = 0

    async def handler(request: web.Request) -> web.StreamResponse:
        nonlocal written
        response = web.StreamResponse()
        await response.prepare(request)
        while written < 100_000_000:
            await response.write(HELLO * 1000)
            written += len(HELLO) * 1000
        return response

    server[0].handler = handler
    async with aclosing(engine.generate(SPEC, CALL)) as produced:
        await anext(produced)
        await asyncio.sleep(0.2)
    assert written < 20_000_000


async def test_more_calls_than_may_be_are_refused(server: tuple[Server, str], engine: OpenAICompatible) -> None:
    server[0].streams(HELLO, 0.2, STOP, USAGE, DONE)
    calls = [asyncio.create_task(events(engine)) for _ in range(3)]
    got = await asyncio.gather(*calls, return_exceptions=True)
    assert got[:2] == [ALL, ALL]
    assert isinstance(got[2], CapacityError)
    assert len(server[0].requests) == 2


async def test_no_server_at_all(unused_tcp_port_factory: Callable[[], int]) -> None:
    engine = OpenAICompatible(f"http://127.0.0.1:{unused_tcp_port_factory()}", "served", "vllm", clock=FakeClock())
    with pytest.raises(EngineError, match="reached"):
        await events(engine)
    with pytest.raises(EngineError, match="reached"):
        await engine.check()
    await engine.close()
    with pytest.raises(EngineError, match="closed"):
        await events(engine)


async def test_health(server: tuple[Server, str]) -> None:
    engine = OpenAICompatible(server[1] + "/", "served", "kserve", clock=FakeClock())
    server[0].answers({})
    await engine.check()
    assert server[0].requests[0][0].path == "/v2/models/served/ready"
    server[0].answers({}, 503)
    with pytest.raises(EngineError, match="503"):
        await engine.check()
    await engine.close()


async def test_embeddings(server: tuple[Server, str]) -> None:
    embedder = OpenAICompatibleEmbedder(server[1], "served", "vllm", clock=FakeClock())
    data = [{"index": 1, "embedding": [3, 4.5]}, {"index": 0, "embedding": [1.0, 2.0]}]
    server[0].answers({"data": data, "usage": {"prompt_tokens": 6}})
    embedded = await embedder.embed(["one", (5, 6)], CALL)
    assert embedded.vectors == ((1.0, 2.0), (3.0, 4.5))
    assert embedded.input_tokens == 6
    request, body = server[0].requests[0]
    assert request.path == "/v1/embeddings"
    assert body == {"model": "served", "input": ["one", [5, 6]], "encoding_format": "float"}
    server[0].answers({"data": data[:1]})
    with pytest.raises(EngineError):
        await embedder.embed(["one", "two"], CALL)
    await embedder.close()


@pytest.mark.parametrize(
    ("vectors", "read"), [(([1.0], [1.0, 2.0]), 6), (([], []), 6), (([1.0], [2.0]), -6), (([1.0], [2.0]), 10**30)]
)
async def test_embeddings_that_make_no_sense(server: tuple[Server, str], vectors: list[list[float]], read: int) -> None:
    embedder = OpenAICompatibleEmbedder(server[1], "served", "vllm", clock=FakeClock())
    data = [{"index": index, "embedding": vector} for index, vector in enumerate(vectors)]
    server[0].answers({"data": data, "usage": {"prompt_tokens": read}})
    with pytest.raises(EngineError):
        await embedder.embed(["one", "two"], CALL)
    await embedder.close()


async def test_embeddings_one_at_a_time(server: tuple[Server, str]) -> None:
    embedder = OpenAICompatibleEmbedder(server[1], "served", "triton", clock=FakeClock())
    server[0].answers({"data": [{"index": 0, "embedding": [1.0]}], "usage": {"prompt_tokens": 3}})
    embedded = await embedder.embed(["one", "two"], CALL)
    assert embedded.vectors == ((1.0,), (1.0,))
    assert embedded.input_tokens == 6
    assert [body["input"] for _, body in server[0].requests] == ["one", "two"]
    await embedder.close()
