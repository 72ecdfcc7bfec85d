"""HTTP for questions about the server and its models of tensors: no session, nothing charged."""

import asyncio

from starlette.types import Receive

from antiphon.core.errors import EngineError, EngineTimeout
from antiphon.core.ports import Inferrer, InquiryEndpoint
from antiphon.core.tensors import ModelForm
from antiphon.core.wire import Opening, Response
from antiphon.transports.short import ShortRoute

PATIENCE_S = 10.0  # for the engine to answer


class InquiryRoute(ShortRoute[InquiryEndpoint]):
    """Tells about models of tensors."""

    async def _respond(self, opening: Opening, receive: Receive) -> Response:
        inquiry = self._endpoint.inquire(opening)
        ready, form = self._sessions.ready, None
        if inquiry.model:
            self._sessions.authenticate(self._endpoint.credential(opening), None)
            model = self._sessions.languages.resolve(inquiry.model).inferrer()
            ready, form = await _asked(model, inquiry.version, inquiry.described)
        return self._endpoint.tell(opening, ready, form)


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
