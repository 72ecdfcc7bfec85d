"""The receiver of Stripe's reports on meter events. A report's target is recognised by the secret of its signature."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

from antiphon.core.errors import CapacityError, Unauthenticated
from antiphon.core.ports import Clock
from antiphon.core.stores import Exports
from antiphon.metering.export import stripe_reports
from antiphon.metering.export.outbox import NoAnswer, NotSent, Post
from antiphon.metering.export.receivers import Request
from antiphon.metering.export.stripe import Stripe
from antiphon.metering.export.stripe_reports import Report

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Account:
    """A target at Stripe, and the secret of its webhook."""

    target: str
    receiver: Stripe
    secret: str = field(repr=False)


class StripeHook:
    def __init__(self, accounts: Sequence[Account], exports: Exports, post: Post, clock: Clock) -> None:
        self._accounts = tuple(accounts)
        self._exports = exports
        self._post = post
        self._clock = clock

    async def receive(self, body: bytes, signature: str) -> None:
        """Record the events that a report says were not accepted; durable on return. Raises `Unauthenticated`,
        `CallerError`, or `CapacityError` if Stripe should send the report again.
        """
        account = self._whose(body, signature)
        report = stripe_reports.parse(body)
        if report is not None and report.thin:
            report = await self._whole(account, report)
        if report is not None and (report.refusals or report.others):
            now = self._clock.unix_ms()
            await self._exports.refuse(account.target, report.refusals, report.others, now)
            reasons = sorted({each.reason.partition(":")[0] for each in (*report.refusals, *report.others)})
            log.error("a receiver does not count usage", extra={"task": account.target, "reason": ", ".join(reasons)})

    def _whose(self, body: bytes, signature: str) -> Account:
        error: Unauthenticated | None = None
        for account in self._accounts:
            try:
                stripe_reports.verify(body, signature, account.secret, self._clock.unix_ms() // 1000)
                return account
            except Unauthenticated as refused:
                error = refused
        raise error or Unauthenticated("no export has a webhook's secret")

    async def _whole(self, account: Account, report: Report) -> Report | None:
        """Return the report with its data. Raises `CapacityError` if it cannot be fetched."""
        receiver = account.receiver
        try:
            answer = await self._post(Request(f"{receiver.url}/v2/core/events/{report.id}", receiver.headers()))
        except (NotSent, NoAnswer):
            raise CapacityError("the event cannot be fetched at the moment", retry_after_s=60) from None
        whole = stripe_reports.parse(answer.body) if answer.status == 200 else None
        if whole is None or whole.thin or whole.id != report.id:
            raise CapacityError("the event cannot be fetched at the moment", retry_after_s=60)
        return whole
