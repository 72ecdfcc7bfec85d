"""The way of usage from the ledger into the outbox and to one receiver: in order, at least once, and so that the
receiver counts it once.

A batch is stored with its own identifier before it is sent, and sent again unchanged until it is answered. If no answer
says whether a batch was accepted, and the receiver may soon forget its identifier, it is not sent again: its state is
`UNKNOWN`, and a person decides. If the receiver rejects it, its state is `REFUSED`. Both are gaps; later batches are
still sent. A server that was killed at any moment continues from the stored state.
"""

import asyncio
import hashlib
import logging
import random
import secrets
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from antiphon.core.errors import InternalError
from antiphon.core.exports import Batch, BatchState, Cut, ExportStatus, Mark, UsageEvent
from antiphon.core.ports import Clock
from antiphon.core.stores import MAX_READ, Exports, StoredEntry, Usage
from antiphon.metering.export.meters import Metering, Sums
from antiphon.metering.export.receivers import DAY_MS, HOUR_MS, Answer, Judgement, Receiver, Request, Verdict

MAX_ENTRIES = 20_000  # of one cut
MAX_WAITING = 2000  # batches; while more wait, no more are cut: the ledger keeps the rest
MAX_KEPT = 500_000  # accepted batches of a target
MAX_CUTS = 100_000  # searched if the ledger is a different one
KEEP_MS = 40 * DAY_MS  # for accepted batches, which may be replayed, or refused by later reports
PURGE_MS = HOUR_MS  # between two purges
LEAST_SLEEP_MS, LONGEST_SLEEP_MS = 100, 60_000

log = logging.getLogger(__name__)


class NotSent(Exception):
    """No byte of the request was sent."""


class NoAnswer(Exception):
    """The request may have arrived, but there was no complete answer in time."""


Post = Callable[[Request], Awaitable[Answer]]  # raises `NotSent` or `NoAnswer`


class Start(StrEnum):
    """The position in the ledger where the export to a new target begins."""

    NOW = "now"
    BEGINNING = "beginning"  # of the ledger


@dataclass(frozen=True, slots=True)
class Target:
    """A target, configured as `[export.NAME]`. New usage is cut into batches every `interval_ms`."""

    name: str
    receiver: Receiver
    metering: Metering
    interval_ms: int = 300_000
    start: Start = Start.NOW


class Outbox:
    """The outbox of one target. `outcomes` counts attempts by their verdict, or as `unanswered`; `status` is the latest
    that was read.
    """

    def __init__(
        self,
        target: Target,
        exports: Exports,
        ledger: Usage,
        post: Post,
        clock: Clock,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.name = target.name
        self.outcomes: Counter[str] = Counter()
        self.status: ExportStatus | None = None
        self._target = target
        self._receiver = target.receiver
        self._exports = exports
        self._ledger = ledger
        self._post = post
        self._clock = clock
        self._sleep = sleep
        self._jitter = jitter
        self._cut: Cut | None = None
        self._cut_at_ms: int | None = None
        self._purged_at_ms = 0
        self._failures = 0  # rounds in a row in which no batch was accepted
        self._resume_ms = 0

    async def run(self) -> None:
        """Run for ever. Raises `InternalError` if a store fails."""
        self._cut = None
        while True:
            await self.step()
            await self._sleep(self._pause_ms() / 1000)

    async def step(self) -> None:
        """Cut a batch, if it is time; then send everything that can be sent. Raises `InternalError` if a store fails,
        or would lose what is written.
        """
        if trouble := self._exports.trouble:
            raise InternalError(trouble)
        await self._purge()
        more = True
        while more:
            more = await self._take_in()
            while await self._send_round():
                pass
        await self._look()

    def _pause_ms(self) -> int:
        """Return the time until the next cut, or until a waiting batch can be sent, in milliseconds. There is no cut
        while too many batches wait.
        """
        now, waiting = self._clock.unix_ms(), self.status.waiting if self.status is not None else 0
        due_ms = now + LONGEST_SLEEP_MS
        if waiting < MAX_WAITING:
            due_ms = min(due_ms, (self._cut_at_ms or 0) + self._target.interval_ms)
        if waiting:
            due_ms = min(due_ms, max(self._resume_ms, now + self._receiver.limits.first_pause_ms))
        return max(LEAST_SLEEP_MS, due_ms - now)

    async def _look(self) -> None:
        self.status = next((each for each in await self._exports.status() if each.target == self.name), None)

    async def _purge(self) -> None:
        now = self._clock.unix_ms()
        if now - self._purged_at_ms >= PURGE_MS:
            self._purged_at_ms = now
            await self._exports.purge(self.name, now - KEEP_MS, MAX_KEPT)

    # -- from the ledger -----------------------------------------------------------------------------------------------

    async def _take_in(self) -> bool:
        """Cut new entries of the ledger into batches. Returns whether there are more entries."""
        now = self._clock.unix_ms()
        if self._cut_at_ms is not None and now - self._cut_at_ms < self._target.interval_ms:
            return False
        before = self._cut or await self._find_cut()
        if self.status is not None and self.status.waiting >= MAX_WAITING:
            return False
        sums = Sums(self._target.metering, self._receiver.skips)
        last: StoredEntry | None = None
        entries, more = 0, True
        while more and entries < MAX_ENTRIES and not sums.full:
            read = await self._ledger.read(last.cursor if last is not None else cursor(before.position))
            more = len(read) == MAX_READ
            for recorded in read:
                if sums.full:
                    more = True
                    break
                sums.add(recorded)
                last, entries = recorded, entries + 1
        if last is not None:
            position = int(last.cursor)
            events = sums.events(f"{self.name}/{before.origin}", before.position + 1, position)
            after = Cut(position, anchor_of(last), before.origin)
            await self._exports.cut(self.name, before, after, self._batches(events), now)
            self._cut = after
            await self._look()
        if not more:
            self._cut_at_ms = now
        return more

    async def _find_cut(self) -> Cut:
        """Return the end of the last cut, in this ledger."""
        known = await self._exports.cuts(self.name)
        if not known:
            position = await self._first_position()
            cut = Cut(position, await self._anchor(position), secrets.token_hex(4))
            await self._exports.cut(self.name, None, cut, (), self._clock.unix_ms())
            log.info("an export begins", extra={"task": self.name, "reason": f"at position {position}"})
            self._cut = cut
            return cut
        [latest] = known
        if await self._anchor(latest.position) != latest.anchor:
            latest = await self._common(latest)
        self._cut = latest
        return latest

    async def _first_position(self) -> int:
        if self._target.start is Start.BEGINNING:
            return 0
        end = 1
        while await self._ledger.read(cursor(end), 1):
            end *= 2
        begin = 0  # search the first position without entries after it; `end` is one
        while begin < end:
            middle = (begin + end) // 2
            if await self._ledger.read(cursor(middle), 1):
                begin = middle + 1
            else:
                end = middle
        return end

    async def _common(self, latest: Cut) -> Cut:
        """Return a new cut if the ledger is not the one of the batches, but an older copy or a new one: after the last
        cut that it contains. Its identifiers are new, since positions are used again.
        """
        cuts = await self._exports.cuts(self.name, MAX_CUTS)
        low, high = 0, len(cuts)  # the first cut in this ledger is in this range; cuts before it are not in the ledger
        while low < high:
            middle = (low + high) // 2
            if await self._anchor(cuts[middle].position) == cuts[middle].anchor:
                high = middle
            else:
                low = middle + 1
        position = cuts[low].position if low < len(cuts) else 0
        cut = Cut(position, await self._anchor(position), secrets.token_hex(4))
        await self._exports.cut(self.name, latest, cut, (), self._clock.unix_ms())
        reason = f"the ledger is another one: it goes on from position {position} instead of {latest.position}"
        log.error("an export begins anew", extra={"task": self.name, "reason": reason})
        return cut

    async def _anchor(self, position: int) -> str:
        """Return the anchor of the entry at a position of the ledger: empty for position 0, `nothing` if there is no
        entry.
        """
        if not position:
            return ""
        read = await self._ledger.read(cursor(position - 1), 1)
        return anchor_of(read[0]) if read and int(read[0].cursor) == position else "nothing"

    def _batches(self, events: Sequence[UsageEvent]) -> list[Batch]:
        refused = [(event, reason) for event in events if (reason := self._refusal(event))]
        known = {event.identifier for event, _ in refused}
        lanes: dict[str, list[UsageEvent]] = {}
        for event in events:
            if event.identifier not in known:
                lanes.setdefault(self._receiver.lane(event), []).append(event)
        size = self._receiver.limits.events
        batches = [
            Batch(identifier=some[0].identifier, lane=lane, body=self._receiver.body(some), events=tuple(some))
            for lane, waiting in lanes.items()
            for some in (waiting[at : at + size] for at in range(0, len(waiting), size))
        ]
        for event, reason in refused:
            lane = f"gap {event.identifier.rpartition('/')[2]}"  # the same for the same sum
            batch = Batch(identifier=event.identifier, lane=lane, body=b"", events=(event,))
            batches.append(replace(batch, state=BatchState.REFUSED, reason=reason))
            self._alarm(batches[-1], reason)
        return batches

    def _refusal(self, event: UsageEvent) -> str | None:
        if not event.meter:
            return "no_meter"
        if event.at_unix_ms < self._clock.unix_ms() - self._receiver.limits.past_ms:
            return "too_old"
        return self._receiver.refusal(event)

    # -- to the receiver -----------------------------------------------------------------------------------------------

    async def _send_round(self) -> bool:
        """Send the first batch of each lane, as many as may be sent at once. Returns whether to continue at once."""
        now = self._clock.unix_ms()
        if now < self._resume_ms:
            return False
        waiting = await self._exports.waiting(self.name, now, self._receiver.limits.at_once)
        whole = [batch for batch in waiting if batch.body]
        for batch in waiting:
            if not batch.body:  # its lane is known only then; it is sent in its turn
                await self._make(batch)
        marks = [mark for batch in whole if (mark := self._late_mark(batch)) is not None]
        gone = {mark.number for mark in marks}
        going = [batch for batch in whole if batch.number not in gone]
        if going:
            await self._exports.sending(self.name, [batch.number for batch in going], now)
            judged = await asyncio.gather(*map(self._send, going))
            marks += [self._mark(batch, judgement, now) for batch, judgement in zip(going, judged, strict=True)]
            self._note(judged)
        if marks:
            await self._exports.mark(self.name, marks, self._clock.unix_ms())
        return bool(waiting)

    async def _make(self, batch: Batch) -> None:
        """Make the body of a batch that is to be sent again, or the reason why it cannot be sent."""
        reason = next((refusal for event in batch.events if (refusal := self._refusal(event))), None)
        if reason is None:
            batch = replace(batch, body=self._receiver.body(batch.events), lane=self._receiver.lane(batch.events[0]))
        else:
            batch = replace(batch, state=BatchState.REFUSED, reason=reason)
            self._alarm(batch, reason)
        await self._exports.write(self.name, batch)

    def _late_mark(self, batch: Batch) -> Mark | None:
        """Return the mark of a batch that is too late to be sent, else `None`."""
        now, limits = self._clock.unix_ms(), self._receiver.limits
        if batch.doubtful_unix_ms is not None and now - batch.doubtful_unix_ms >= limits.memory_ms:
            return self._gap(batch, BatchState.UNKNOWN, "unanswered")
        if batch.oldest_unix_ms < now - limits.past_ms:
            return self._gap(batch, _lost(batch), "too_old")
        return None

    async def _send(self, batch: Batch) -> Judgement:
        try:
            answer = await self._post(self._receiver.request(batch, self._clock.unix_ms()))
        except NotSent as error:
            self.outcomes["unanswered"] += 1
            return Judgement(Verdict.LATER, str(error))
        except NoAnswer as error:
            self.outcomes["unanswered"] += 1
            return Judgement(Verdict.LATER, str(error), doubtful=True)
        judged = self._receiver.judge(answer)
        self.outcomes[judged.verdict.value] += 1
        return judged

    def _mark(self, batch: Batch, judged: Judgement, sent_ms: int) -> Mark:
        if judged.verdict is Verdict.TAKEN:
            return Mark(batch.number, BatchState.TAKEN)
        if judged.verdict is Verdict.REFUSED:
            return self._gap(batch, _lost(batch), judged.reason)
        since = batch.doubtful_unix_ms
        if since is None and judged.doubtful:
            since = sent_ms
        again_ms = self._clock.unix_ms() + max(self._backoff_ms(batch.attempts), judged.retry_after_ms)
        return Mark(batch.number, BatchState.WAITING, judged.reason, again_ms, since)

    def _gap(self, batch: Batch, state: BatchState, reason: str) -> Mark:
        self._alarm(batch, reason)
        return Mark(batch.number, state, reason, 0, batch.doubtful_unix_ms)

    def _note(self, judged: Sequence[Judgement]) -> None:
        """Pause sending for a while if every batch failed."""
        if any(each.verdict is not Verdict.LATER for each in judged):
            self._failures, self._resume_ms = 0, 0
            return
        retry_after_ms = min(each.retry_after_ms for each in judged)
        self._resume_ms = self._clock.unix_ms() + max(self._backoff_ms(self._failures), retry_after_ms)
        self._failures += 1
        log.warning("a receiver takes no usage", extra={"task": self.name, "reason": judged[0].reason})

    def _backoff_ms(self, failures: int) -> int:
        """Return a pause in milliseconds: random, from half of the doubled pause to all of it."""
        limits = self._receiver.limits
        most = min(limits.first_pause_ms << min(failures, 30), limits.longest_pause_ms)
        return most // 2 + int(self._jitter() * (most - most // 2))

    def _alarm(self, batch: Batch, reason: str) -> None:
        project = batch.events[0].project if batch.events else ""
        log.error("usage is not exported", extra={"task": self.name, "project": project, "reason": reason})


def _lost(batch: Batch) -> BatchState:
    """Return the state of a batch that cannot be sent any more: `UNKNOWN` if it may have been accepted before."""
    return BatchState.REFUSED if batch.doubtful_unix_ms is None else BatchState.UNKNOWN


def cursor(position: int) -> str:
    return str(position) if position else ""


def anchor_of(recorded: StoredEntry) -> str:
    """Return a hash that identifies an entry, without its contents."""
    return hashlib.sha256("\n".join(map(str, recorded.entry.key)).encode()).hexdigest()[:16]
