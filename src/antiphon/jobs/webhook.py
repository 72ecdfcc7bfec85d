"""Tells somebody at a URL of theirs that something is done: a POST, signed, tried again with growing pauses.

The signature is HMAC-SHA256 over the time in Unix seconds, a dot and the body, so that neither can be changed and an
old message cannot be sent again later: who receives one compares the time with its own clock. How it stands in the
headers is each vendor's. The guarded fetcher sends it, which connects to public addresses only.
"""

import asyncio
import hashlib
import hmac
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from antiphon.core.errors import AntiphonError, CapacityError
from antiphon.core.ports import Clock

MAX_TRIES = 6
FIRST_PAUSE_S, PAUSE_GROWS = 1.0, 5.0  # 1, 5, 25, 125, 625 s: about a quarter of an hour in all
MAX_WAITING = 256  # messages, of all projects
MAX_OF_A_PROJECT = 32

log = logging.getLogger(__name__)


class Posts(Protocol):
    """The guarded fetcher, as far as messages are sent."""

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> int:
        """The status of the answer. Raises `AntiphonError` where there is none."""


@dataclass(frozen=True, slots=True)
class Message:
    """What is to be sent, and where. `signed` makes the headers of the time in Unix seconds and the signature."""

    project: str
    url: str = field(repr=False)
    secret: bytes = field(repr=False)
    body: bytes = field(repr=False)
    signed: Callable[[int, str], Mapping[str, str]] = field(repr=False)


def signature(secret: bytes, at_unix_s: int, body: bytes) -> str:
    """In hexadecimal digits."""
    return hmac.new(secret, b"%d." % at_unix_s + body, hashlib.sha256).hexdigest()


class Webhooks:
    """Messages that are under way. What is not delivered when the server stops is lost; whoever waits can ask."""

    def __init__(self, fetcher: Posts, clock: Clock, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self._fetcher = fetcher
        self._clock = clock
        self._sleep = sleep
        self._sending: dict[asyncio.Task[bool], str] = {}

    def send(self, message: Message) -> "asyncio.Task[bool]":
        """Begins to. The task says whether it was delivered. Raises `CapacityError` where too many are under way."""
        of_project = sum(project == message.project for project in self._sending.values())
        if len(self._sending) >= MAX_WAITING or of_project >= MAX_OF_A_PROJECT:
            raise CapacityError("Too many webhooks wait to be delivered.", retry_after_s=60)
        task = asyncio.create_task(self._deliver(message), name="webhook")
        self._sending[task] = message.project
        task.add_done_callback(lambda done: self._sending.pop(done, None))
        return task

    async def _deliver(self, message: Message) -> bool:
        pause_s = FIRST_PAUSE_S
        for number in range(MAX_TRIES):
            if number:
                await self._sleep(pause_s)
                pause_s *= PAUSE_GROWS
            at_unix_s = self._clock.unix_ms() // 1000
            headers = message.signed(at_unix_s, signature(message.secret, at_unix_s, message.body))
            try:
                status = await self._fetcher.post(message.url, message.body, headers)
            except AntiphonError:
                continue
            if 200 <= status < 300:
                return True
        log.warning("a webhook could not be delivered", extra={"project": message.project})
        return False

    async def close(self) -> None:
        """What is under way is given up."""
        tasks = tuple(self._sending)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
