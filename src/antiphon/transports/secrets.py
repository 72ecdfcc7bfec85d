"""HTTP for secrets that open one call each: nothing runs and nothing is charged until one is used."""

from starlette.types import Receive

from antiphon.core.identity import Scope as Permission
from antiphon.core.ports import SecretEndpoint
from antiphon.core.wire import Opening, Response
from antiphon.session.sessions import Sessions
from antiphon.transports.short import ShortRoute
from antiphon.transports.uploads import Uploads


class SecretRoute(ShortRoute[SecretEndpoint]):
    """Makes secrets. A secret may do what its key may."""

    def __init__(
        self, surface: str, endpoint: SecretEndpoint, sessions: Sessions, uploads: Uploads, permission: Permission
    ) -> None:
        super().__init__(surface, endpoint, sessions)
        self._uploads = uploads
        self._permission = permission

    async def _respond(self, opening: Opening, receive: Receive) -> Response:
        principal = self._sessions.authenticate(self._endpoint.credential(opening), self._permission)
        body = await self._uploads.read(opening, receive, self._endpoint.max_body_bytes)
        self._uploads.held -= len(body)  # small, and gone before anything else is waited for
        asked = self._endpoint.negotiate(opening, body)
        self._sessions.check(principal, asked.spec)
        minted = self._sessions.secrets.mint(principal, self._surface, asked.settled, asked.lifetime_s)
        return self._endpoint.grant(opening, asked, minted.secret, minted.expires_unix_s)
