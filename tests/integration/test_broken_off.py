"""A voice that dies in the middle of its sound: over a real socket, callers notice that it is not the whole."""

import asyncio
import socket
import threading
import time
from collections.abc import AsyncGenerator, Iterator

import httpx
import httpx2
import openai
import pytest
import uvicorn
from deepgram import DeepgramClient
from deepgram.environment import DeepgramClientEnvironment
from starlette.applications import Starlette

from antiphon.core.errors import EngineError
from antiphon.core.ports import Clause
from antiphon.routes import ROUTES
from antiphon.transports import table
from antiphon.transports.uploads import Uploads
from session_house import House


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A server on fakes, whose voice dies after its first word."""
    listening = socket.create_server(("127.0.0.1", 0))

    async def dying(clause: Clause) -> AsyncGenerator[bytes, None]:
        yield bytes(range(256)) * 200
        raise EngineError("The voice died.")

    async def serve() -> None:
        house = House()
        house.synthesiser.synthesise = dying
        app = Starlette(routes=table.routes(ROUTES, house.door, house.clock, Uploads(1 << 20, 1 << 24)))
        server.append(uvicorn.Server(uvicorn.Config(app, log_level="critical", lifespan="off")))
        await server[0].serve(sockets=[listening])
        await house.close()

    server: list[uvicorn.Server] = []
    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    deadline = time.monotonic() + 20
    while not (server and server[0].started):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    server[0].should_exit = True
    thread.join(20)
    assert not thread.is_alive()


@pytest.fixture
def client(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="secret", max_retries=0, timeout=20) as client:
        yield client


def test_openai(client: openai.OpenAI) -> None:
    with pytest.raises(openai.APIConnectionError):
        client.audio.speech.create(model="tone", voice="alloy", input="One two.", response_format="pcm")


def test_openai_streamed(client: openai.OpenAI) -> None:
    asked = {"model": "tone", "voice": "alloy", "input": "One two.", "response_format": "pcm"}
    heard: list[bytes] = []
    with (
        pytest.raises(httpx2.RemoteProtocolError),
        client.audio.speech.with_streaming_response.create(**asked) as answer,
    ):
        heard.extend(answer.iter_bytes())
    assert sum(map(len, heard)) > 50_000  # what came before is there


def test_deepgram(url: str) -> None:
    here = DeepgramClientEnvironment(base=url, production=url, agent=url, agent_rest=url)
    client = DeepgramClient(api_key="secret", environment=here)
    with pytest.raises(httpx.RemoteProtocolError):
        b"".join(client.speak.v1.audio.generate(text="One two.", model="alloy", request_options={"max_retries": 0}))
