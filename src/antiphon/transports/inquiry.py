"""HTTP for questions about the server and its models of tensors: no session, nothing charged."""

import asyncio

from starlette.types import Receive, Scope, Send

from antiphon.core.errors import AntiphonError, EngineError, EngineTimeout
from antiphon.core.ports import Inferrer, InquiryEndpoint
from antiphon.core.tensors import ModelForm
from antiphon.session.sessions import Sessions
from antiphon.transports.http import answer, defect
from antiphon.transports.opening import opening_of

PATIENCE_S = 10.0  # for the engine to answer


class InquiryRoute:
    """An ASGI app: a vendor's endpoint that tells about models of tensors."""

    def __init__(self, surface: str, endpoint: InquiryEndpoint, sessions: Sessions) -> None:
        self._surface = surface
        self._endpoint = endpoint
        self._sessions = sessions

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        opening = opening_of(scope)
        try:
            inquiry = self._endpoint.inquire(opening)
            ready, form = self._sessions.ready, None
            if inquiry.model:
                self._sessions.authenticate(self._endpoint.credential(opening), None)
                model = self._sessions.languages.resolve(inquiry.model).inferrer()
                ready, form = await _asked(model, inquiry.version, inquiry.described)
            response = self._endpoint.tell(opening, ready, form)
        except Exception as error:
            refused = error if isinstance(error, AntiphonError) else defect(error, opening)
            self._sessions.refused(self._surface, refused)
            response = self._endpoint.refuse(opening, refused)
        await answer(response)(scope, receive, send)


async def _asked(model: Inferrer, version: str, described: bool) -> tuple[bool, ModelForm | None]:
    try:
        async with asyncio.timeout(PATIENCE_S):
            if described:
                return True, await model.describe(version)
            try:
                await model.check()
            except EngineError:
                return False, None
            return True, None
    except TimeoutError:
        raise EngineTimeout("The model does not answer.") from None
