"""All sessions that are open, until their end: their callers', or when a key becomes invalid or the server stops."""

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping
from functools import partial

from antiphon.calls.generation import Generation
from antiphon.calls.recognition import Recognition
from antiphon.calls.services import Services
from antiphon.calls.synthesis import Synthesis
from antiphon.conversation.conversation import Conversation
from antiphon.core.errors import AntiphonError, Draining, KeysUnavailable, LedgerUnavailable, Unauthenticated
from antiphon.core.speech import SpeechEngine
from antiphon.core.tags import SUBJECT, value_of
from antiphon.session.dialogue import DialogueConnection
from antiphon.session.places import CallKind, Holds, Places
from antiphon.session.retries import Retries
from antiphon.trust.auth import KeyRing

CHECK_S = 0.25
RETRY_AFTER_S = 5
LAST_WORDS_S = 2.0  # for the last messages and entries of failed sessions

Open = Recognition | Generation | Synthesis | Conversation | DialogueConnection

log = logging.getLogger(__name__)


class OpenSessions:
    """The open sessions, with the places that each holds. `watch` must run beside it."""

    def __init__(
        self,
        services: Services,
        keys: KeyRing,
        places: Places,
        retries: Retries,
        region: Callable[[str, str], str] | None = None,
    ) -> None:
        """Begin with none. `region` returns where an engine is that serves a project, if it requires a region."""
        self._services = services
        self._keys = keys
        self._places = places
        self._retries = retries
        self._region = region
        self._holds: dict[Open, Holds] = {}
        self._empty = asyncio.Event()
        self._empty.set()
        self.draining = False
        if services.allowances is not None:
            services.allowances.running = self.running

    def __len__(self) -> int:
        return len(self._holds)

    def __iter__(self) -> Iterator[Open]:
        return iter(self._holds)

    def running(self, project: str) -> Iterator[str]:
        """Yield the ids of a project's sessions that are charged and have not ended."""
        return (each.call.id for each in self._holds if each.call.principal.project == project)

    def about(self, project: str, subject: str) -> int:
        """Return how many are open about a person, as callers name them; with an empty one, of the whole project."""
        calls = [each.call for each in self._holds if each.call.principal.project == project]
        tags = ((*call.tags, *(call.spec.tags if call.spec else ())) for call in calls)
        return sum(not subject or value_of(each, SUBJECT) == subject for each in tags)

    def check_accepting(self) -> None:
        """Raise `Draining` or `LedgerUnavailable` if no session may begin now."""
        if self.draining:
            raise Draining("The server is stopping.", retry_after_s=RETRY_AFTER_S)
        if not self._services.ledger.healthy:
            raise _unrecorded()

    async def watch(self) -> None:
        """Run for ever: within a second, end the sessions of a revoked or expired key, and all sessions if the ledger
        has failed, or if keys could not be read for `MAX_UNREAD_NS`.
        """
        trouble = None
        while True:
            await asyncio.sleep(CHECK_S)
            try:
                self._keys.refresh()
                if self._services.allowances is not None:
                    self._services.allowances.refresh()
            except Exception as error:
                log.error("changes of API keys could not be read", exc_info=error)
            if self._keys.trouble != trouble:
                trouble = self._keys.trouble
                log.error(
                    "changes of API keys cannot be read" if trouble else "changes of API keys are read again",
                    extra={"reason": trouble},
                )
            for session, holds in tuple(self._holds.items()):
                try:
                    if isinstance(session, Recognition | Synthesis):
                        self._places.notice(session, holds)
                    self._check(session)
                    if isinstance(session, Recognition):
                        session.renew()
                except Exception as error:  # the other sessions must still be checked
                    whose = {"session": session.call.id, "key": session.call.principal.key_id}
                    log.error("a session could not be checked", exc_info=error, extra=whose)

    def _check(self, session: Open) -> None:
        """End a session that must not continue."""
        if not self._keys.holds(session.call.principal.key_id):
            session.fail(Unauthenticated("The API key is no longer valid."))
        elif self._keys.unknown_for_long:
            session.fail(KeysUnavailable("API keys cannot be checked at the moment.", retry_after_s=RETRY_AFTER_S))
        elif not self._services.ledger.healthy:
            session.fail(_unrecorded())

    async def drain(self, bound_s: float) -> None:
        """Accept no new sessions; finalise open ones, and fail them after `bound_s` seconds."""
        self.draining = True
        for session in tuple(self._holds):
            session.drain()
        if not await self._all_closed(bound_s):
            for session in tuple(self._holds):
                session.fail(Draining("The server is stopping."))
            await self._all_closed(LAST_WORDS_S)

    async def settle(self) -> None:
        """Wait, after the transports have ended, until sessions have written everything."""
        if not await self._all_closed(LAST_WORDS_S):
            log.error("sessions could not be closed")

    async def _all_closed(self, bound_s: float) -> bool:
        try:
            async with asyncio.timeout(bound_s):
                await self._empty.wait()
        except TimeoutError:
            return False
        return True

    def add(self, session: Open, wanted: Mapping[CallKind, int], recogniser: SpeechEngine | None = None) -> None:
        """Add a session and hold its places, until `remove`. Raises if its request must not begin."""
        try:
            self._retries.began(session.call.id, session.call.claim)  # raises if it must not begin
        except AntiphonError:
            if not isinstance(session, Conversation | DialogueConnection):
                session.abandon()
            raise
        self._holds[session] = self._places.hold(session.call.principal, wanted, recogniser)
        if not isinstance(session, Conversation | DialogueConnection):
            session.on_end = self._ended
            if self._region is not None:
                session.region_of = partial(self._region, session.call.principal.project)
        self._empty.clear()
        self._services.observer.opened(session.call.surface)

    def _ended(self, session: Recognition | Generation | Synthesis) -> None:
        """Free the session's places: its caller has been served, even if the ledger still gets its end."""
        if holds := self._holds.get(session):
            self._places.let_go(holds)
            self._holds[session] = {}

    def remove(self, session: Open) -> None:
        """Forget a session that has closed, and free its places."""
        holds = self._holds.pop(session, None)
        if holds is not None:
            self._places.let_go(holds)
            self._retries.ended(session.call.id, session.was_charged, session.in_doubt)
        if not self._holds:
            self._empty.set()


def _unrecorded() -> LedgerUnavailable:
    return LedgerUnavailable(
        "Usage cannot be recorded, so no calls are accepted at the moment.", retry_after_s=RETRY_AFTER_S
    )
