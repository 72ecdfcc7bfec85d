"""HTTP for secrets that open one call each: nothing runs and nothing is charged until one is used."""

from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from antiphon.core.errors import AntiphonError
from antiphon.core.identity import Scope as Permission
from antiphon.core.ports import SecretEndpoint
from antiphon.session.sessions import Sessions
from antiphon.transports.http import answer, defect
from antiphon.transports.opening import opening_of
from antiphon.transports.uploads import Uploads


class SecretRoute:
    """An ASGI app: a vendor's endpoint that makes secrets. A secret may do what its key may."""

    def __init__(
        self, surface: str, endpoint: SecretEndpoint, sessions: Sessions, uploads: Uploads, permission: Permission
    ) -> None:
        self._surface = surface
        self._endpoint = endpoint
        self._sessions = sessions
        self._uploads = uploads
        self._permission = permission

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        opening = opening_of(scope)
        size = 0
        try:
            principal = self._sessions.authenticate(self._endpoint.credential(opening), self._permission)
            body = await self._uploads.read(opening, receive, self._endpoint.max_body_bytes)
            size = len(body)
            asked = self._endpoint.negotiate(opening, body)
            self._sessions.check(principal, asked.spec)
            minted = self._sessions.secrets.mint(principal, self._surface, asked.settled, asked.lifetime_s)
            response = self._endpoint.grant(opening, asked, minted.secret, minted.expires_unix_s)
        except ClientDisconnect:
            return
        except Exception as error:
            refused = error if isinstance(error, AntiphonError) else defect(error, opening)
            self._sessions.refused(self._surface, refused)
            response = self._endpoint.refuse(opening, refused)
        finally:
            self._uploads.held -= size
        await answer(response)(scope, receive, send)
