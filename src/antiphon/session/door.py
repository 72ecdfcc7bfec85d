"""The entry point of all calls: authentication, authorisation, and opening.

A transport brings a caller's opening, and a body, a question or a first message. The vendor's endpoint finds the
credential and translates the request; the door checks the credential and its permissions, recognises repeated requests,
finds the earlier answers that a request continues, and opens the call (`requests.py`), or answers the question
(`lookups.py`). There is no other way in. It writes to the audit log whom it lets in or refuses.
"""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TypeVar

from antiphon.core.audit import Action
from antiphon.core.endpoints import NeedsResource, SuccessiveCalls
from antiphon.core.errors import AntiphonError, InternalError, PolicyError
from antiphon.core.identity import Principal, Scope
from antiphon.core.jobs import JobService, NewFile, NewJob
from antiphon.core.ports import Clock
from antiphon.core.routing import CallRow, DialogueRow, LookupRow, Row
from antiphon.core.stores import Claim, Resources
from antiphon.core.tags import take_tags
from antiphon.core.wire import Bearer, Credential, Opening, Pending, Step
from antiphon.session.callers import Callers
from antiphon.session.dialogue import DialogueConnection
from antiphon.session.lookups import Lookups
from antiphon.session.requests import HeldBody, OpenCall, Requests, Sent, translate
from antiphon.session.sessions import Sessions
from antiphon.session.webhooks import ProjectWebhooks
from antiphon.trust.audit import Auditor
from antiphon.trust.auth import KeyRing
from antiphon.trust.oidc import Oidc
from antiphon.trust.pairs import Pairs
from antiphon.trust.sign_in import SignIns

T = TypeVar("T")

Read = Callable[[Principal], Awaitable[tuple[HeldBody, Sent]]]

log = logging.getLogger(__name__)


class Door:
    """The entry point of all calls."""

    def __init__(
        self,
        sessions: Sessions,
        keys: KeyRing,
        clock: Clock,
        jobs: JobService | None,
        auditor: Auditor,
        resources: Resources | None = None,
        pairs: Pairs | None = None,
        oidc: Oidc | None = None,
        webhooks: ProjectWebhooks | None = None,
        sign_ins: SignIns | None = None,
    ) -> None:
        """Begin; `jobs` answers questions about jobs. Calls may refer to `resources`, and be signed with one of `pairs`
        instead of a key. With `oidc`, tokens of a provider manage the server, and with `sign_ins` people in browsers.
        """
        self.sessions = sessions
        self._auditor = auditor
        self._keys = keys
        self._lookups = Lookups(sessions, auditor, jobs, resources, webhooks, clock)
        self._requests = Requests(sessions, self._lookups, clock)
        self._callers = Callers(keys, sessions.secrets, clock, pairs, oidc, sign_ins)

    # -- who -----------------------------------------------------------------------------------------------------------

    def authenticate(
        self, row: Row, opening: Opening, credential: Credential | Pending | None, scope: Scope | None
    ) -> tuple[Principal, Opening]:
        """Return the caller, and the opening with the settings of a one-call secret. Without a scope, any key may call.

        A one-call secret opens a dialogue of its vendor, or makes a call that accepts such secrets, and is used up even
        if the call fails; a token stands for its key on all paths of its vendor, or on the one it was made for. Raises
        `Unauthenticated` for an invalid credential, `PolicyError` for a missing permission, `KeysUnavailable`, and
        `LedgerUnavailable` if the admission cannot be recorded.
        """
        try:
            principal, settled = self._callers.identify(row, opening, credential, scope)
            self._keys.check_limits(principal.key_id, opening.address, row.surface)
        except AntiphonError as error:
            self._auditor.refuse(Action.ACCESS, row.path, error, opening.address, opening.request_id)
            raise
        self._auditor.admit(Action.ACCESS, row.path, principal, opening.address, opening.request_id)
        return principal, settled

    def administer(self, secret: str | None, scope: Scope | None, address: str) -> Principal:
        """Return who manages or inspects the server (`Callers.administrator`)."""
        return self._callers.administrator(secret, scope, address)

    def refuse(self, row: Row, opening: Opening, error: Exception) -> Step:
        """Return the vendor's answer to a refused or failed request. A defect of the server is logged."""
        return row.endpoint.refuse(opening, self.count_refusal(row.surface, opening, error))

    def count_refusal(self, surface: str, opening: Opening, error: Exception) -> AntiphonError:
        """Count an error that ends a call before it has a session, and return it for the caller."""
        refused = error if isinstance(error, AntiphonError) else defect(error, opening)
        self.sessions.count_refusal(surface, refused)
        return refused

    # -- calls ---------------------------------------------------------------------------------------------------------

    async def call(self, row: CallRow, opening: Opening, read: Read) -> OpenCall | Step:
        """Open a call, or return the answer if it is known already. `read` reads the body, once the caller is known.
        That must be released. Raises `AntiphonError`, and what `read` does.
        """
        principal, opening = self.authenticate(row, opening, row.endpoint.credential(opening), row.scope)
        opening, tags = take_tags(opening)
        held, sent = await read(principal)
        try:
            opened = await self._requests.open(row, opening, principal, sent, held, tags)
        except BaseException as error:
            held.release()
            self.note_refusal(row, opening, principal, error)
            raise
        if isinstance(opened, Step):
            held.release()
        return opened

    async def item(
        self,
        row: CallRow,
        opening: Opening,
        principal: Principal,
        sent: Sent,
        held: HeldBody,
        claim: Claim,
        fills: bool = True,
        tags: tuple[str, ...] = (),
    ) -> OpenCall | Step:
        """Open a call for an item of a job, for the job's owner, under the job's claim and with its tags; if it
        `fills`, it uses only capacity that other calls leave. Raises as `call` does, also if the owner's key is no
        longer valid, or lacks the scope.
        """
        principal = self._callers.owner(principal, row.scope)
        self._auditor.admit(Action.ACCESS, row.path, principal, opening.address, opening.request_id)
        return await self._requests.open(row, opening, principal, sent, held, tags, claim, fills)

    def note_refusal(self, row: Row, opening: Opening, principal: Principal, error: BaseException) -> None:
        """Record that an authenticated caller may not do what they requested."""
        if isinstance(error, PolicyError):
            self._auditor.refuse(Action.ACCESS, row.path, error, opening.address, opening.request_id, principal)

    async def succeed(
        self,
        row: DialogueRow,
        opening: Opening,
        dialogue: DialogueConnection,
        calls: SuccessiveCalls,
        message: str | bytes,
        held: HeldBody,
    ) -> OpenCall | Step:
        """Open a call on a connection of successive calls, or return the messages for one that generates nothing.
        Raises `AntiphonError`.
        """
        # The key's scopes may have changed since the connection was opened.
        principal, opening = self.authenticate(row, opening, row.endpoint.credential(opening), row.scope)
        opening, tags = take_tags(opening)
        return await self._requests.succeed(row, opening, principal, dialogue, calls, message, held, tags)

    async def resolve(self, needs: NeedsResource[T], principal: Principal | None) -> T:
        """Return the request, made with the resources that it needs. Raises `AntiphonError`."""
        return await self._lookups.resolve(needs, principal)

    # -- lookups -------------------------------------------------------------------------------------------------------

    async def look_up(self, row: LookupRow, opening: Opening, read: Read) -> Step:
        """Answer a question. The answer must be released. Raises as `call` does."""
        credential = row.endpoint.credential(opening)
        principal: Principal | None = None
        body: Sent = b""
        held: HeldBody | None = None
        tags: tuple[str, ...] = ()
        try:
            if not row.open:
                principal, opening = self.authenticate(row, opening, credential, row.scope)
                opening, tags = take_tags(opening)
                if row.max_body_bytes:
                    held, body = await read(principal)
            if principal is not None and opening.method == "POST":
                opening = await self._requests.identified(opening, principal, body)
            question = await translate(row.endpoint.ask, opening, body)
            if isinstance(question, Step):
                return question
            if isinstance(question, Lookups.MAKES_SECRETS):
                principal = self._by_key(opening, credential, row.scope)
            if isinstance(question, NeedsResource):
                question = await self._lookups.resolve(question, principal)
            if isinstance(question, NewFile | NewJob):
                question = replace(question, tags=(*tags, *question.tags))
            return await self._lookups.answer(question, principal, row.surface, opening)
        finally:
            if held is not None:
                held.release()

    def _by_key(self, opening: Opening, credential: Credential | Pending | None, scope: Scope | None) -> Principal:
        """Return who calls with the key itself. Raises `Unauthenticated`."""
        return self._callers.with_key(
            credential.secret if isinstance(credential, Bearer) else None, scope, opening.address
        )


def defect(error: BaseException, opening: Opening) -> InternalError:
    """Log a defect of the server, and return the error for the caller."""
    log.error("request failed", exc_info=error, extra={"session": opening.request_id})
    return InternalError("The server failed; this has been logged.")
