"""The parts of a conversation, as `conversation.py` holds them: each a session with the task that reads its events."""

import asyncio
import logging
from dataclasses import dataclass, field
from typing import Any, Protocol

from antiphon.calls.generation import Generation
from antiphon.calls.recognition import Recognition
from antiphon.calls.synthesis import Synthesis
from antiphon.conversation.steps import ClosePart, PartOutput
from antiphon.core.budgets import RateLimit
from antiphon.core.conversation.spec import ConverseSpec
from antiphon.core.errors import AntiphonError
from antiphon.core.specs import GenerateSpec, SpeakSpec, TranscribeSpec

Session = Recognition | Generation | Synthesis

log = logging.getLogger(__name__)


class Parts(Protocol):
    """Opens the parts of a conversation. Every method raises `AntiphonError` if it is not permitted or there is no
    room.
    """

    def check(self, spec: ConverseSpec) -> None:
        """Check that everything the spec names exists."""

    def complete(self, spec: ConverseSpec) -> ConverseSpec: ...

    def transcribe(self, id: str, spec: TranscribeSpec) -> Recognition: ...

    def generate(self, id: str, spec: GenerateSpec, held: bool) -> Generation: ...

    def speak(self, id: str, spec: SpeakSpec) -> Synthesis: ...

    def limits(self) -> tuple[RateLimit, ...]: ...


@dataclass(slots=True, eq=False)
class SessionPart:
    """An open part. The task `reading` takes its events while `unpaused` is set, until `end`."""

    session: Session
    reading: asyncio.Task[None] = field(init=False)
    unpaused: asyncio.Event = field(default_factory=asyncio.Event)
    end: bool = False

    def output(self, id: str, batch: tuple[Any, ...]) -> PartOutput:
        """Return a batch of its events, as the machine takes them."""
        match self.session:
            case Generation():
                return PartOutput(id, batch, sent=self.session.leaving)
            case Synthesis():
                return PartOutput(id, batch, characters=self.session.characters)
            case Recognition():
                return PartOutput(id, batch)

    def abort(self, error: AntiphonError) -> None:
        """End the session with an error. The place of a generation is free at once, for the next one."""
        self.session.fail(error)
        if isinstance(self.session, Generation):
            self.session.on_end(self.session)

    async def close(self, act: ClosePart) -> None:
        """Stop the session and free it."""
        session = self.session
        if not self.end:  # else what it still makes would be charged
            self.reading.cancel()
            await asyncio.wait([self.reading])
        try:
            if act.played_ms is not None and isinstance(session, Synthesis):
                await session.played(act.played_ms)
        except AntiphonError as error:
            log.error(
                "the charge for unheard speech could not be corrected",
                exc_info=error,
                extra={"session": session.call.id},
            )
        finally:
            await session.close(act.delivered)
