"""The vendors' endpoints on fakes, without a socket."""

import asyncio

from starlette.applications import Starlette

from antiphon.routes import ROUTES
from antiphon.transports import table
from antiphon.transports.uploads import Uploads
from session_house import House, closed


class Door:
    """The endpoints on fakes. `ask` gives status, type and body of an answer, `talk` what was sent on a WebSocket and
    its close code (`None`: the caller left first). `charged` is of the last one.
    """

    def __init__(self):
        self.loop = asyncio.new_event_loop()
        self.house = House()
        self.house.keep_s["acme"] = 60
        uploads = Uploads(1 << 20, 1 << 24)
        self.app = Starlette(routes=table.routes(ROUTES, self.house.door, self.house.clock, uploads))
        self.charged = {}

    def ask(self, method, path, body=b"", query="", headers=()):
        return self.loop.run_until_complete(self._ask(method, path, body, query, headers))

    def talk(self, path, messages, query="", headers=(), stays=False):
        """Who `stays` waits for the server to close."""
        return self.loop.run_until_complete(self._talk(path, messages, query, headers, stays))

    async def _ask(self, method, path, body, query, headers):
        sent, says = [], asyncio.Queue()
        says.put_nowait({"type": "http.request", "body": body, "more_body": False})

        async def send(message):
            sent.append(message)

        await self._serve(_scope("http", path, query, headers, method=method), says.get, send)
        assert sent[-1].get("more_body", False) is False, "the answer has no end"
        kind = dict(sent[0]["headers"]).get(b"content-type", b"").decode()
        return sent[0]["status"], kind, b"".join(message.get("body", b"") for message in sent)

    async def _talk(self, path, messages, query, headers, stays):
        sent, says = [], asyncio.Queue()
        says.put_nowait({"type": "websocket.connect"})
        for message in messages:
            kind = "text" if isinstance(message, str) else "bytes"
            says.put_nowait({"type": "websocket.receive", kind: message})
        if not stays:
            says.put_nowait({"type": "websocket.disconnect", "code": 1005})

        async def send(message):
            sent.append(message)

        await self._serve(_scope("websocket", path, query, headers, subprotocols=[]), says.get, send)
        told = [m["text"] if m.get("text") is not None else m["bytes"] for m in sent if m["type"] == "websocket.send"]
        return told, next((m["code"] for m in sent if m["type"] == "websocket.close"), None)

    async def _serve(self, scope, receive, send):
        async with asyncio.timeout(20):
            await self.app(scope, receive, send)
            await closed()
        self.charged = self.house.tokens()
        # Or tens of thousands of bodies would stay in memory.
        self.house.ledger.entries.clear()
        self.house.generator.calls.clear()
        self.house.embedder.calls.clear()
        self.house.synthesiser.clauses.clear()


def _scope(kind, path, query, headers, **more):
    named = {name.lower(): value for name, value in headers}
    return {
        "type": kind,
        "path": path,
        "query_string": query.encode(),
        "headers": [(n.encode("latin-1"), v.encode("latin-1", "replace")) for n, v in named.items()],
        **more,
    }
