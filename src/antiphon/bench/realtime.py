"""A spoken conversation with a server that has OpenAI's Realtime protocol, over a WebSocket. Audio is 24 kHz mono int16
in both directions.
"""

import base64
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import msgspec

from antiphon.core.errors import CallerError, EngineError

RATE = 24_000
BYTES_PER_MS = RATE * 2 // 1000
CONNECT_TIMEOUT_S = 10
MAX_MESSAGE_BYTES = 16 << 20


class Event(msgspec.Struct):
    """The needed fields of all events. `delta` is text, or audio in base64."""

    type: str
    delta: str = ""
    transcript: str = ""
    text: str = ""
    item_id: str = ""
    call_id: str = ""
    name: str = ""
    arguments: str = ""
    response: dict[str, Any] = {}
    error: dict[str, Any] = {}

    @property
    def audio(self) -> bytes:
        return base64.b64decode(self.delta)


_decode = msgspec.json.Decoder(Event).decode


@dataclass(frozen=True, slots=True)
class Connection:
    """An open conversation."""

    socket: aiohttp.ClientWebSocketResponse

    async def send(self, type: str, **fields: object) -> None:
        await self.socket.send_str(msgspec.json.encode({"type": type, **fields}).decode())

    async def hear(self, pcm: bytes) -> None:
        """Send audio to the server."""
        await self.send("input_audio_buffer.append", audio=base64.b64encode(pcm).decode())

    async def receive(self) -> Event:
        """Return the next event. Raises `EngineError` if the connection has ended or the event is invalid."""
        message = await self.socket.receive()
        if message.type is not aiohttp.WSMsgType.TEXT:
            raise EngineError(f"the conversation has ended ({self.socket.close_code or 'no close code'})")
        try:
            return _decode(message.data)
        except msgspec.MsgspecError as error:
            raise EngineError(f"the server's event is not OpenAI's: {error}") from error


@asynccontextmanager
async def connect(
    url: str, api_key: str, model: str, session: Mapping[str, object]
) -> AsyncGenerator[Connection, None]:
    """Open a conversation. `url` is an origin; `session` are its settings, as in `session.update`.

    Raises `CallerError` if the server refuses, `EngineError` if it cannot be reached.
    """
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S)
    address = f"{url.replace('http', 'ws', 1).rstrip('/').removesuffix('/v1')}/v1/realtime"
    headers = {"Authorization": f"Bearer {api_key}"}
    async with aiohttp.ClientSession(timeout=timeout) as http:
        try:
            opening = http.ws_connect(address, params={"model": model}, headers=headers, max_msg_size=MAX_MESSAGE_BYTES)
            socket = await opening
        except aiohttp.WSServerHandshakeError as error:
            raise CallerError(f"{url} refused the conversation: {error.status} {error.message}") from error
        except (aiohttp.ClientError, OSError) as error:
            raise EngineError(f"no answer from {url}: {error}") from error
        async with socket:
            connection = Connection(socket)
            await connection.send("session.update", session={"type": "realtime", **session})
            while (event := await connection.receive()).type != "session.updated":
                if event.type == "error":
                    raise CallerError(f"{url} refused the conversation: {event.error.get('message')}")
            yield connection
