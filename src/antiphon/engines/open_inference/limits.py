"""Common to both transports: bounds, deadlines, and when a server's message reaches a caller.

A server's message is passed on only if it blames the caller, cut to `MESSAGE_CHARS`; and not at all if an input holds
text, which it might quote.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from antiphon.core import tensors
from antiphon.core.errors import CallerError, CapacityError, EngineError, EngineTimeout
from antiphon.core.events import Inferred
from antiphon.core.ports import Clock, EngineCall
from antiphon.core.specs import InferSpec
from antiphon.core.units import BESIDE_BYTES

MESSAGE_CHARS = 300
CHECK_S = 5.0

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds: `outstanding` calls at once; `answer_bytes` for one answer, of which `json_bytes` are JSON, because all
    threads wait while that is read; `connect_s` for a new connection. An idle connection is closed after `idle_s`:
    servers close theirs after 5 s, and a request must not be sent at that moment.
    """

    outstanding: int = 256
    answer_bytes: int = 256 << 20
    json_bytes: int = 8 << 20
    connect_s: float = 5.0
    idle_s: float = 4.0


class Turnstile:
    """Counts running calls."""

    def __init__(self, limits: Limits) -> None:
        self._most = limits.outstanding
        self.outstanding = 0

    @contextmanager
    def passing(self) -> Iterator[None]:
        """Count one call while inside. Raises `CapacityError` if there are too many."""
        if self.outstanding >= self._most:
            raise CapacityError("The model's server has reached its maximum number of calls.", retry_after_s=1)
        self.outstanding += 1
        try:
            yield
        finally:
            self.outstanding -= 1


def left_s(call: EngineCall, clock: Clock) -> float | None:
    """Return the seconds until the deadline. Raises `EngineTimeout` if it has passed."""
    if call.deadline_ns is None:
        return None
    left = (call.deadline_ns - clock.now_ns()) / 1e9
    if left <= 0:
        raise EngineTimeout("The model took too long.")
    return left


def blames_caller(spec: InferSpec, message: str) -> CallerError:
    quotes = any(tensor.datatype == tensors.BYTES for tensor in spec.inputs)
    return CallerError("The model's server refused the request." if quotes or not message else message[:MESSAGE_CHARS])


async def beside(size_bytes: int, work: Callable[[], R]) -> R:
    """Return the result of converting that many bytes. A large number is converted in a thread, or it would block the
    event loop.
    """
    return work() if size_bytes <= BESIDE_BYTES else await asyncio.to_thread(work)


def checked(read: Callable[[], Inferred]) -> Inferred:
    """Return a server's answer. Raises `EngineError` if a tensor is not what it says."""
    try:
        inferred = read()
        for tensor in inferred.outputs:
            tensors.check(tensor)
    except ValueError as error:
        raise EngineError(f"The model's server answered with a malformed tensor: {error}.") from None
    return inferred
