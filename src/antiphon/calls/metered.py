"""The common part of sessions that are charged: an account, the error that ends them, and their end.

All events for a caller pass `events`: they are filtered, then charged, then yielded.

The first error counts. `events` always ends with the session's own last event or with `Failed`; `close` must be called
after it in any case, and records in the ledger how it ended.
"""

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from typing import Any, Generic, TypeVar

from antiphon.calls.account import Account, TaggedSpec
from antiphon.calls.filters import Chain, FilterError
from antiphon.calls.services import Services
from antiphon.core.call import Call
from antiphon.core.entry import EntryKind
from antiphon.core.errors import AntiphonError, BudgetExceeded, InternalError
from antiphon.core.events import Failed
from antiphon.core.ports import PromptFilter, Serving
from antiphon.core.usage import Meter
from antiphon.metering.allowances import Allowance
from antiphon.metering.tally import Charged, Demand
from antiphon.metering.tariff import Use

Event = TypeVar("Event")

REDACT = "redact"  # the add-on of a filter that hides content, which must not be kept either

log = logging.getLogger(__name__)


class MeteredSession(ABC, Generic[Event]):
    """One call of `model`; `feature` is how the model is used."""

    live = False
    in_doubt = False  # after the end: whether it was charged for a whole answer that may not have arrived

    def __init__(
        self,
        services: Services,
        call: Call[TaggedSpec],
        model: str,
        feature: str,
        on_close: Callable[[Any], None],
        demand: Callable[[], Demand],
    ) -> None:
        """Begin, if the project's budgets and limits allow what it may come to (`demand`). Raises as `Allowances.open`
        does.
        """
        self.call = call
        self.model = model
        self._services = services
        self._on_close = on_close
        self.on_end: Callable[[Any], None] = _nothing
        self.serving = Serving()
        self.region_of: Callable[[str], str] = _nowhere  # an engine's, if the policy requires one
        filters = services.filters(call)
        self._chain = Chain(filters) if filters else None
        self._prompts = next((each for each in filters if isinstance(each, PromptFilter)), None) if filters else None
        self._costs = False  # whether `_produce` has yielded output that is not charged yet
        add_ons = sorted({getattr(each, "add_on", "") for each in filters} - {""}) if filters else ()
        self._redacts = REDACT in add_ons
        self._use = Use(model, "+".join((feature, *add_ons)), call.surface)
        self._account = Account(services, call, model, self._use.feature)
        self._allowance: Allowance | None = None
        if services.allowances is not None and not self._account.replays:
            self._allowance = self._account.allowance = services.allowances.open(call, self._use, demand)
            if self._allowance is not None and self._allowance.by_entry:
                self._account.entries = []
        self._error: AntiphonError | None = None
        self._outcome = EntryKind.ABANDONED
        self._closing: asyncio.Task[None] | None = None

    @property
    def region(self) -> str:
        """The region of the engine that answers, if the project's policy requires one."""
        return self.region_of(self.serving.engine) if self.serving.engine else ""

    @property
    def was_charged(self) -> bool:
        """Whether it was charged for anything, now or before."""
        return self._account.was_charged

    # -- for each kind of session --------------------------------------------------------------------------------------

    @property
    @abstractmethod
    def whole(self) -> bool:
        """Whether it is charged for its answer as a whole; otherwise, for the part sent."""

    @abstractmethod
    def _produce(self) -> AsyncGenerator[tuple[Event, ...], None]:
        """Yield what `events` filters and yields. `_costs` is set before events that are charged."""

    @abstractmethod
    async def _pay(self, events: tuple[Event, ...]) -> None:
        """Charge for what is sent now, durable on return. Sets the outcome with the last event."""

    async def _complete(self, events: tuple[Event, ...]) -> tuple[Event, ...]:
        """Return the events that the filters let pass, with what the session makes of them."""
        return events

    async def _free(self) -> None:
        """Free what it holds. May raise: the caller is charged all the same."""

    def _owed(self) -> Mapping[Meter, int]:
        """Return the total to pay of a session that ends now."""
        return {}

    # -- the same for all ----------------------------------------------------------------------------------------------

    def fail(self, error: AntiphonError) -> None:
        """End the session with an error; the first one counts."""
        self._error = self._error or error

    def _defect(self, error: Exception) -> AntiphonError:
        if isinstance(error, FilterError):
            self._services.filter_failed(self.call, str(error))
        log.error("session failed", exc_info=error, extra={"session": self.call.id})
        return InternalError("The server failed; this has been logged.")

    async def events(self) -> AsyncGenerator[tuple[Event | Failed, ...], None]:
        """Yield all events for the caller, as many at a time as came at once, as the call's filters leave them; the
        charge for a result is durable in the ledger before it is yielded. A filter that fails ends it.
        """
        try:
            async with aclosing(self._produce()) as batches:
                async for events in batches:
                    if self._chain is not None:
                        events = await self._chain.push(events)
                        if not events:
                            continue  # held back
                        events = await self._complete(events)
                    if self._costs:
                        await self._pay(events)
                        self._costs = False
                    yield events
        except BudgetExceeded as error:
            async for events in self._rest():
                yield events
            self.fail(error)
            yield (Failed(error),)
        except Exception as error:
            self.fail(error if isinstance(error, AntiphonError) else self._defect(error))
            assert self._error is not None
            yield (Failed(self._error),)

    async def _rest(self) -> AsyncGenerator[tuple[Event, ...], None]:
        """Yield what the filters still hold, as far as they and the ledger allow."""
        try:
            events = await self._chain.finish() if self._chain is not None else ()
            if events:
                await self._pay(events)
                yield events
        except BudgetExceeded:
            pass  # nor is there room for this
        except Exception as error:
            self._defect(error)

    async def close(self, delivered: bool) -> None:
        """Free everything, and record the end in the ledger. `delivered` says whether everything that `events` yielded
        was sent. Continues to its end even if the caller is cancelled.
        """
        self.end(delivered)
        assert self._closing is not None
        await asyncio.shield(self._closing)

    def end(self, delivered: bool) -> None:
        """Begin to close without waiting, so that the next request of the connection waits neither for the ledger nor
        for the place of this one: `on_end` is called first.
        """
        self.on_end(self)
        if self._allowance is not None:
            self._allowance.leave()
        self._closing = asyncio.create_task(self._close(delivered), name=f"close {self.call.id}")

    def abandon(self) -> None:
        """Give up a call that was opened and does not begin."""
        self._settle(delivered=False)

    def _settle(self, delivered: bool) -> None:
        """Count what was charged in the budgets."""
        allowances, account = self._services.allowances, self._account
        if allowances is None or not (self._allowance or allowances.follows(self.call.principal.project)):
            return
        meters = {} if account.replays else account.charged
        now_unix_ms = self._services.clock.unix_ms()
        entries = tuple(account.entries or ())
        charged = Charged(meters, account.since_unix_ms, now_unix_ms, not delivered, entries)
        if self._allowance is not None:
            self._allowance.settle(charged)
        else:
            allowances.count(self.call, self._use, charged)

    async def _close(self, delivered: bool) -> None:
        completed = self._outcome is EntryKind.COMPLETED
        try:
            try:
                await self._free()
            except Exception as error:
                self._defect(error)
            await self._account.close(self._outcome if delivered else EntryKind.ABANDONED, self._owed())
        except AntiphonError:
            pass  # nothing more is delivered; the ledger's own recovery marks the session as abandoned
        except Exception as error:
            self._defect(error)
        finally:
            self.in_doubt = self.whole and self.was_charged and not (completed and delivered)
            self._settle(completed and delivered)
            self._on_close(self)
            outcome = "completed" if completed and delivered else self._error.code if self._error else "abandoned"
            self._services.observer.ended(self.call, self.model, outcome, self._account.paid())


def _nowhere(engine: str) -> str:
    return ""


def _nothing(session: object) -> None:
    """Do nothing at the end."""
