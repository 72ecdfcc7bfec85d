"""HTTP for answers that are kept: read one, cancel it, delete it. Another project's is as if it were not there."""

from starlette.types import Receive

from antiphon.core.identity import Scope as Permission
from antiphon.core.ports import KeptAct, KeptEndpoint
from antiphon.core.wire import Opening, Response
from antiphon.transports.short import ShortRoute


class KeptRoute(ShortRoute[KeptEndpoint]):
    """About one kept answer."""

    async def _respond(self, opening: Opening, receive: Receive) -> Response:
        principal = self._sessions.authenticate(self._endpoint.credential(opening), Permission.GENERATE)
        keeper = self._sessions.keeper
        acts = {KeptAct.READ: keeper.read, KeptAct.CANCEL: keeper.cancel, KeptAct.DELETE: keeper.delete}
        body, running = await acts[self._endpoint.act](principal.project, self._endpoint.named(opening))
        return self._endpoint.show(opening, body, running)
