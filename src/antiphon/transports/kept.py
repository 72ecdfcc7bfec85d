"""HTTP for answers that are kept: read one, cancel it, delete it. Another project's is as if it were not there."""

from starlette.types import Receive, Scope, Send

from antiphon.core.errors import AntiphonError
from antiphon.core.identity import Scope as Permission
from antiphon.core.ports import KeptAct, KeptEndpoint
from antiphon.session.sessions import Sessions
from antiphon.transports.http import answer, defect
from antiphon.transports.opening import opening_of


class KeptRoute:
    """An ASGI app: a vendor's endpoint about one kept answer."""

    def __init__(self, surface: str, endpoint: KeptEndpoint, sessions: Sessions) -> None:
        self._surface = surface
        self._endpoint = endpoint
        self._sessions = sessions
        keeper = sessions.keeper
        self._act = {KeptAct.READ: keeper.read, KeptAct.CANCEL: keeper.cancel, KeptAct.DELETE: keeper.delete}[
            endpoint.act
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        opening = opening_of(scope)
        try:
            principal = self._sessions.authenticate(self._endpoint.credential(opening), Permission.GENERATE)
            body, running = await self._act(principal.project, self._endpoint.named(opening))
            response = self._endpoint.show(opening, body, running)
        except Exception as error:
            refused = error if isinstance(error, AntiphonError) else defect(error, opening)
            self._sessions.refused(self._surface, refused)
            response = self._endpoint.refuse(opening, refused)
        await answer(response)(scope, receive, send)
