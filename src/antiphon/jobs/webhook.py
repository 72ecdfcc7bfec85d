"""Webhooks: a signed POST to a caller's URL when a job is over, retried with growing pauses.

The signature is HMAC-SHA256 over the time in Unix seconds, a dot and the body, so that neither can be changed and an
old notice cannot be sent again later: a receiver compares the time with its own clock. The secret is that of the
project's webhook, or for a URL of one request it is derived from the API key of the job's creator
(`KeyRing.webhook_secret`); its place in the headers is each vendor's. The guarded fetcher sends it: to public addresses
only, each checked at the connection, without following redirects.
"""

import asyncio
import hashlib
import hmac
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from antiphon.core.errors import AntiphonError
from antiphon.core.identity import Webhook
from antiphon.core.jobs import Notice
from antiphon.core.ports import Clock
from antiphon.core.webhooks import PostFailure
from antiphon.scheduler.steps import Steps

MAX_TRIES = 6
FIRST_PAUSE_S, PAUSE_GROWS = 1.0, 5.0  # 1, 5, 25, 125, 625 s: about a quarter of an hour in all
MAX_WAITING, MAX_OF_A_PROJECT = 256, 64  # notices that are not delivered yet
MAX_FAILURES = 1_024  # that are remembered
AT_ONCE = 8  # posts; projects take turns
POST_S = 10  # for one of them, to its answer
GONE = 410
PASSING = frozenset({408, 425, 429})  # the 4xx statuses after which a retry may succeed

log = logging.getLogger(__name__)


class Posts(Protocol):
    """The guarded fetcher's part that sends notices."""

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> int:
        """Return the status of the answer. Raises `AntiphonError` if there is none."""


def signature(secret: bytes, at_unix_s: int, body: bytes) -> str:
    """Return the signature in hexadecimal digits; empty without a secret."""
    return hmac.new(secret, b"%d." % at_unix_s + body, hashlib.sha256).hexdigest() if secret else ""


class Webhooks:
    """The notices that are not delivered yet. They are lost when the server stops; a caller can still ask for the job.

    `secret` returns what signs for the owner of a key, by the key's id; it may be empty. `webhooks` returns those of a
    project that are not disabled. `failures` has the latest failure of each of those, by its id, in memory.
    """

    def __init__(
        self,
        fetcher: Posts,
        clock: Clock,
        secret: Callable[[str], bytes],
        webhooks: Callable[[str], Sequence[Webhook]] = lambda project: (),
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._fetcher = fetcher
        self._clock = clock
        self._secret = secret
        self._webhooks = webhooks
        self._sleep = sleep
        self._places = Steps(AT_ONCE, clock)
        self._sending: dict[asyncio.Task[bool], tuple[str, str]] = {}  # with their projects and subjects
        self.failures: dict[str, PostFailure] = {}

    def tell(self, project: str, key_id: str, notice: Notice, subject: str = "") -> None:
        """Start to send a notice, to each of the project's webhooks that it is for if it has no URL. The `subject` is
        the pseudonym of the person whom it is about.
        """
        if notice.url:
            self.send(project, key_id, notice, subject)
            return
        for each in self._webhooks(project):
            if notice.webhook == each.id or (not notice.webhook and each.settings.subscribed):
                self.send(project, key_id, replace(notice, url=each.url, webhook=each.id), subject)

    def send(self, project: str, key_id: str, notice: Notice, subject: str = "") -> "asyncio.Task[bool] | None":
        """Start to send a notice. The task returns whether it was delivered; `None` if too many wait."""
        of_project = sum(each == project for each, _ in self._sending.values())
        if len(self._sending) >= MAX_WAITING or of_project >= MAX_OF_A_PROJECT:
            log.warning("a webhook was dropped: too many wait to be delivered", extra={"project": project})
            return None
        task = asyncio.create_task(self._deliver(project, key_id, notice), name="webhook")
        self._sending[task] = project, subject
        task.add_done_callback(lambda done: self._sending.pop(done, None))
        return task

    def drop(self, project: str, subject: str) -> int:
        """Abandon the notices about a person, or all of the project if there is none; return how many."""
        sending = self._sending.items()
        dropped = [task for task, (of, about) in sending if of == project and subject in ("", about)]
        for task in dropped:
            task.cancel()
        return len(dropped)

    async def _deliver(self, project: str, key_id: str, notice: Notice) -> bool:
        pause_s, own = FIRST_PAUSE_S, self._find(project, notice.webhook)
        for number in range(1 if own is not None and not own.settings.retries else MAX_TRIES):
            if number:
                await self._sleep(pause_s)
                pause_s *= PAUSE_GROWS
            async with self._places.place(self._clock.now_ns(), project):
                status = await self._post(project, key_id, notice)
            if 200 <= status < 300:
                return True
            if own is not None:
                self._fail(own.id, status)
            if 400 <= status < 500 and status not in PASSING:
                break
        log.warning("a webhook could not be delivered", extra={"project": project})
        return False

    async def _post(self, project: str, key_id: str, notice: Notice) -> int:
        """Return the status: 0 without an answer, `GONE` if the webhook was deleted or disabled."""
        at_unix_s = self._clock.unix_ms() // 1000
        secret = self._secret(key_id)
        more: dict[str, str] = {}
        if notice.webhook:
            own = self._find(project, notice.webhook)
            if own is None:
                return GONE
            secret, more = own.secret.encode(), dict(own.settings.headers)
        headers = more | dict(notice.signed(at_unix_s, signature(secret, at_unix_s, notice.body)))
        try:
            return await self._fetcher.post(notice.url, notice.body, headers)
        except AntiphonError:
            return 0

    def _find(self, project: str, webhook: str) -> Webhook | None:
        return next((each for each in self._webhooks(project) if each.id == webhook), None)

    def _fail(self, webhook: str, status: int) -> None:
        self.failures.pop(webhook, None)
        self.failures[webhook] = PostFailure(status, self._clock.unix_ms())
        if len(self.failures) > MAX_FAILURES:
            self.failures.pop(next(iter(self.failures)))

    async def close(self) -> None:
        """Abandon all undelivered notices."""
        tasks = tuple(self._sending)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
