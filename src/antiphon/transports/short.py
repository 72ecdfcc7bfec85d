"""HTTP that is answered at once: no session is opened and nothing is charged."""

from abc import ABC, abstractmethod
from typing import Generic, TypeVar

from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from antiphon.core.errors import AntiphonError
from antiphon.core.ports import Endpoint
from antiphon.core.wire import Opening, Response
from antiphon.session.sessions import Sessions
from antiphon.transports.http import answer, defect
from antiphon.transports.opening import opening_of

E = TypeVar("E", bound=Endpoint)


class ShortRoute(ABC, Generic[E]):
    """An ASGI app: a vendor's endpoint. A subclass says what the answer is; what it raises is refused."""

    def __init__(self, surface: str, endpoint: E, sessions: Sessions) -> None:
        self._surface = surface
        self._endpoint = endpoint
        self._sessions = sessions

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        opening = opening_of(scope)
        try:
            response = await self._respond(opening, receive)
        except ClientDisconnect:
            return
        except Exception as error:
            refused = error if isinstance(error, AntiphonError) else defect(error, opening)
            self._sessions.refused(self._surface, refused)
            response = self._endpoint.refuse(opening, refused)
        await answer(response)(scope, receive, send)

    @abstractmethod
    async def _respond(self, opening: Opening, receive: Receive) -> Response:
        """Raises `AntiphonError`, and Starlette's `ClientDisconnect`."""
