"""One caller of a dialogue, from the opening of the connection until the dialogue is open.

The endpoint may need the first message to know who calls, or for what: then the caller is admitted with it.
"""

from dataclasses import dataclass, replace
from typing import Any

from antiphon.calls.recognition import Recognition
from antiphon.core.call import Call
from antiphon.core.endpoints import Accepted, NeedsFirst, NeedsResource, Succession
from antiphon.core.errors import InternalError, PolicyError, Unauthenticated
from antiphon.core.identity import Principal
from antiphon.core.routing import DialogueRow
from antiphon.core.tags import take_tags
from antiphon.core.wire import Opening, Pending
from antiphon.session.dialogue import DialogueConnection
from antiphon.session.door import Door
from antiphon.session.requests import check_tags
from antiphon.session.sessions import Live


@dataclass(frozen=True, slots=True)
class OpenStream:
    """An admitted dialogue, between one surface and one session."""

    session: Live
    accepted: Accepted[Any]


@dataclass(frozen=True, slots=True)
class OpenSuccession:
    """An admitted dialogue of successive calls."""

    session: DialogueConnection
    accepted: Succession


OpenDialogue = OpenStream | OpenSuccession


class Arrival:
    """One caller of a dialogue, until it is admitted."""

    def __init__(self, door: Door, row: DialogueRow, opening: Opening) -> None:
        """Begin; the `door` says who is let in."""
        self._door = door
        self._row = row
        self._opening = opening
        self._principal: Principal | None = None
        self._tags: tuple[str, ...] = ()

    @property
    def known(self) -> bool:
        """Whether the caller is authenticated."""
        return self._principal is not None

    async def enter(self, first: str | bytes | None = None) -> OpenDialogue | NeedsFirst:
        """Admit the caller. Call it again with the first message if `NeedsFirst` is returned. Raises
        `AntiphonError`.
        """
        row = self._row
        if self._principal is None:
            credential = row.endpoint.credential(self._opening, first)
            if first is not None or credential is not Pending.PENDING:
                self._principal, self._opening = self._door.authenticate(row, self._opening, credential, row.scope)
        if first is None:
            self._opening, self._tags = take_tags(self._opening)
        accepted = row.endpoint.negotiate(self._opening, first)
        if isinstance(accepted, NeedsFirst):
            if first is not None:
                raise InternalError("A surface needs more than the first message.")
            return accepted
        if isinstance(accepted, NeedsResource):
            accepted = await self._door.resolve(accepted, self._principal)
        id = self._opening.request_id
        if isinstance(accepted, Succession):
            if self._principal is None:
                raise Unauthenticated("the API key belongs in the connection's opening")
            return OpenSuccession(self._door.sessions.dialogue(Call(id, self._principal, row.surface, None)), accepted)
        if self._principal is None:
            return NeedsFirst(accepted.surface, accepted.headers, accepted.subprotocol)
        try:
            call = check_tags(Call(id, self._principal, row.surface, accepted.spec, tags=self._tags))
            session = self._door.sessions.open(call)
        except PolicyError as error:
            self._door.note_refusal(row, self._opening, self._principal, error)
            raise
        unmet = session.unmet if isinstance(session, Recognition) else ()
        return OpenStream(session, replace(accepted, headers=accepted.headers_without(unmet)))
