"""A vendor that says everything plainly, and a caller of its routes, without a server."""

import asyncio

from antiphon.core.audio import AudioFormat, Encoding
from antiphon.core.endpoints import Accepted, Offer
from antiphon.core.errors import InternalError
from antiphon.core.events import Audio, Closed, End, Failed, Final
from antiphon.core.specs import TranscribeSpec
from antiphon.core.wire import NOTHING, Close, Head, Response, Step, bearer
from antiphon.transports.bounds import PRESENCE, Presence
from session_house import closed

RAW = AudioFormat(Encoding.LINEAR16, 16_000, 1)


class Endpoint:
    """`on_negotiate` may raise."""

    max_body_bytes = 1_000_000

    def __init__(self, surface, on_negotiate=lambda: None, media=None, **spec):
        self.media = media
        self.surface = surface
        self.on_negotiate = on_negotiate
        self.spec = TranscribeSpec(**{"model": "nova-3", "format": RAW, "endpointing_ms": 300} | spec)

    def credential(self, opening, first=None):
        return bearer(opening.headers.get("authorization", ""))

    def refuse(self, opening, error):
        return Response(error.status, (("content-type", "text/vendor"),), error.code.encode())

    def negotiate(self, opening, body=None):
        self.on_negotiate()
        return Accepted(self.spec, self.surface, self.media)

    def ask(self, opening, body):
        return Offer(lambda offered: self.answer(offered.models))

    def answer(self, models):
        return Response(200, (("content-type", "text/vendor"),), " ".join(card.name for card in models).encode())


class Whole:
    """Answers a recording."""

    def __init__(self):
        self.texts = []

    def emit(self, event, now_ns):
        match event:
            case Final():
                self.texts.append(event.transcript.text)
            case Closed():
                text = " ".join(self.texts)
                return Step(sends=(Head(200, (("content-type", "text/vendor"),)), text), close=Close())
            case Failed():
                return Step(sends=(Head(event.error.status, ()), event.error.code), close=Close())
        return NOTHING


class Live:
    """Text "end" ends, "broken" is a defect, anything binary is audio. `deadline` is when `expire` closes."""

    def __init__(self):
        self.deadline = None

    def receive(self, message, now_ns):
        if message == "broken":
            raise ValueError("the caller's words")
        return Step(inputs=(Audio(message) if isinstance(message, bytes) else End(),))

    def emit(self, event, now_ns):
        match event:
            case Final():
                return Step(sends=(event.transcript.text,))
            case Closed():
                return Step(close=Close(1000))
            case Failed():
                code = 1011 if isinstance(event.error, InternalError) else 1008
                return Step(sends=(event.error.code,), close=Close(code, event.error.code))
        return NOTHING

    def deadline_ns(self):
        return self.deadline

    def expire(self, now_ns):
        self.deadline = None
        return Step(close=Close(1011, "idle"))


class Caller:
    """The other end of an ASGI app: `send` keeps what the app says, `says` what the app receives.

    While `reads` is clear, the app's sends wait.
    """

    def __init__(self):
        self.sent = []
        self.says = asyncio.Queue()
        self.presence = Presence()
        self.reads = asyncio.Event()
        self.reads.set()

    async def receive(self):
        return await self.says.get()

    async def send(self, message):
        await self.reads.wait()
        self.sent.append(message)

    def leave(self):
        self.says.put_nowait({"type": "http.disconnect"})
        self.presence.leave()

    def body(self, *pieces):
        for n, piece in enumerate(pieces, 1):
            self.says.put_nowait({"type": "http.request", "body": piece, "more_body": n < len(pieces)})

    def hear(self, *messages):
        for message in messages:
            kind = "bytes" if isinstance(message, bytes) else "text"
            self.says.put_nowait({"type": "websocket.receive", kind: message})

    @property
    def answer(self):
        """Status and body."""
        body = b"".join(message.get("body", b"") for message in self.sent)
        return self.sent[0]["status"], body

    @property
    def types(self):
        return [message["type"].rpartition(".")[2] for message in self.sent]


def scope(kind="http", headers=(), key="secret"):
    named = [(b"authorization", key.encode())] if key else []
    return {
        "type": kind,
        "method": "POST",
        "path": "/v1/listen",
        "query_string": b"",
        "headers": [*named, *headers],
        "subprotocols": [],
        "extensions": {"websocket.http.response": {}},
    }


async def call(app, caller, **given):
    """One request of that caller, until the ledger knows its end."""
    await app(scope(**given) | {PRESENCE: caller.presence}, caller.receive, caller.send)
    await closed()


def open_sessions(house):
    """Whether a session of this vendor is open."""
    return 'antiphon_sessions_open{surface="deepgram"} 1.0' in house.metrics()
