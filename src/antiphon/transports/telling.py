"""HTTP: what a caller may know before asking a model for anything: which models and voices there are, and what a
project was charged for. Any key may ask.
"""

from starlette.types import ASGIApp, Receive, Scope, Send

from antiphon.core.errors import AntiphonError
from antiphon.core.identity import Principal
from antiphon.core.ports import Endpoint, ListEndpoint, SpentEndpoint, VoicesEndpoint
from antiphon.core.wire import Opening, Response
from antiphon.session.sessions import Sessions
from antiphon.transports.http import answer, defect
from antiphon.transports.opening import opening_of


class _Telling:
    """An ASGI app that answers at once."""

    def __init__(self, surface: str, endpoint: Endpoint, sessions: Sessions) -> None:
        self._surface = surface
        self._vendor = endpoint
        self._sessions = sessions

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        opening = opening_of(scope)
        try:
            principal = self._sessions.authenticate(self._vendor.credential(opening), None)
            response = await self._tell(opening, principal)
        except Exception as error:
            refused = error if isinstance(error, AntiphonError) else defect(error, opening)
            self._sessions.refused(self._surface, refused)
            response = self._vendor.refuse(opening, refused)
        await answer(response)(scope, receive, send)

    async def _tell(self, opening: Opening, principal: Principal) -> Response:
        raise NotImplementedError


class ListRoute(_Telling):
    """A vendor's list of models."""

    def __init__(self, surface: str, endpoint: ListEndpoint, sessions: Sessions) -> None:
        super().__init__(surface, endpoint, sessions)
        self._endpoint = endpoint

    async def _tell(self, opening: Opening, principal: Principal) -> Response:
        sessions = self._sessions
        return self._endpoint.answer(
            opening, sessions.models.cards() + sessions.languages.cards() + sessions.voices.models()
        )


class VoicesRoute(_Telling):
    """Who can speak."""

    def __init__(self, surface: str, endpoint: VoicesEndpoint, sessions: Sessions) -> None:
        super().__init__(surface, endpoint, sessions)
        self._endpoint = endpoint

    async def _tell(self, opening: Opening, principal: Principal) -> Response:
        voices = self._sessions.voices
        return self._endpoint.answer(opening, voices.cards(), voices.models())


class SpentRoute(_Telling):
    """What a project was charged for."""

    def __init__(self, surface: str, endpoint: SpentEndpoint, sessions: Sessions) -> None:
        super().__init__(surface, endpoint, sessions)
        self._endpoint = endpoint

    async def _tell(self, opening: Opening, principal: Principal) -> Response:
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
