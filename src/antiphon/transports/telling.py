"""HTTP: what a caller may know before asking a model for anything: which models and voices there are, and what a
project was charged for. Any key may ask.
"""

from starlette.types import ASGIApp, Receive, Scope, Send

from antiphon.core.ports import ListEndpoint, SpentEndpoint, VoicesEndpoint
from antiphon.core.wire import Opening, Response
from antiphon.transports.short import ShortRoute


class ListRoute(ShortRoute[ListEndpoint]):
    """A vendor's list of models."""

    async def _respond(self, opening: Opening, receive: Receive) -> Response:
        sessions = self._sessions
        sessions.authenticate(self._endpoint.credential(opening), None)
        cards = sessions.models.cards() + sessions.languages.cards() + sessions.voices.models()
        return self._endpoint.answer(opening, cards)


class VoicesRoute(ShortRoute[VoicesEndpoint]):
    """Who can speak."""

    async def _respond(self, opening: Opening, receive: Receive) -> Response:
        self._sessions.authenticate(self._endpoint.credential(opening), None)
        voices = self._sessions.voices
        return self._endpoint.answer(opening, voices.cards(), voices.models())


class SpentRoute(ShortRoute[SpentEndpoint]):
    """What a project was charged for."""

    async def _respond(self, opening: Opening, receive: Receive) -> Response:
        principal = self._sessions.authenticate(self._endpoint.credential(opening), None)
        since = self._endpoint.since_unix_ms(opening)
        spent = await self._sessions.spending.since(principal.project, self._endpoint.dimension, since)
        return self._endpoint.answer(opening, spent)


class ByHeader:
    """An ASGI app: one path of two vendors. Who sends `header` is `theirs`, anybody else is `ours`."""

    def __init__(self, header: str, theirs: ASGIApp, ours: ASGIApp) -> None:
        self._header = header.encode()
        self._theirs = theirs
        self._ours = ours

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        named = any(name == self._header for name, _ in scope["headers"])
        await (self._theirs if named else self._ours)(scope, receive, send)
