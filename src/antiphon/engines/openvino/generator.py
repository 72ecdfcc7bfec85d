"""The server's side of the pipeline's process.

A step's report is one read of the socket and one wake-up of the event loop, for all requests together. A closed
generator cancels its request in the pipeline. If the process dies, running requests fail with `EngineError`.
"""

import asyncio
import secrets
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from antiphon.core.errors import AntiphonError, CallerError, CapacityError, ContextLengthExceeded, EngineError
from antiphon.core.events import Generated, TokenUsage
from antiphon.core.ports import EngineCall
from antiphon.core.specs import GenerateSpec, Shape
from antiphon.engines.openvino.messages import (
    OUT_OF_MEMORY,
    Begun,
    Cancel,
    Chunk,
    Generate,
    Load,
    Model,
    OpenVinoSettings,
    Ready,
    Refused,
    Stepped,
    Why,
    report_decoder,
)
from antiphon.engines.openvino.output import Choice
from antiphon.engines.openvino.request import ABILITIES, offered, prompt_param, translated
from antiphon.engines.process import KeptProcess, Unloadable, frame

Events = tuple[Generated | TokenUsage, ...]
_Item = Begun | Refused | Chunk | AntiphonError


@dataclass(frozen=True, slots=True)
class OpenVinoStats:
    """The state of the engine. `cache_bytes` is the bound of the key and value cache, `cache_used_bytes` the part that
    running requests hold; `rss_bytes` is all memory of the pipeline's process. It was restarted `restarts` times,
    `stuck` of them because it was stuck, and answers now if it is `up`.
    """

    running: int
    rss_bytes: int
    cache_bytes: int
    cache_used_bytes: int
    restarts: int
    stuck: int
    up: bool


class Inbox:
    """The unread reports of the pipeline on one request."""

    __slots__ = ("_items", "_waiter")

    def __init__(self) -> None:
        self._items: list[_Item] = []
        self._waiter: asyncio.Future[None] | None = None

    def put(self, item: _Item) -> None:
        self._items.append(item)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def take(self) -> list[_Item]:
        """Return all items, waiting for at least one."""
        if not self._items:
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        items, self._items = self._items, []
        return items


class OpenVinoGenerator(KeptProcess):
    """One language model, from a GGUF file or a folder of OpenVINO files. Use `start`; `fingerprint` identifies its
    weights.
    """

    worker = "antiphon.engines.openvino.worker"
    name = "language model"
    abilities = ABILITIES

    def __init__(
        self, path: Path, settings: OpenVinoSettings, fingerprint: str = "", kept_in: Path | None = None
    ) -> None:
        if kept_in is None and settings.weights != "file":
            raise CallerError("Rewritten weights need a folder that they are kept in.", param="weights")
        kept = str(kept_in.absolute()) if kept_in else ""
        super().__init__(Load(str(path.absolute()), settings, kept))  # absolute, since it runs elsewhere
        self.fingerprint = fingerprint
        self._settings = settings
        self._model: Model | None = None
        self._inboxes: dict[int, Inbox] = {}
        self._next = 0
        self._cache_bytes = 0
        self._cache_share = 0.0

    @classmethod
    async def start(
        cls, path: Path, settings: OpenVinoSettings, fingerprint: str = "", kept_in: Path | None = None
    ) -> "OpenVinoGenerator":
        """Load the model. `kept_in` is the folder of rewritten models: see `settings.weights`. Raises `EngineError` if
        it cannot be loaded.
        """
        return await cls(path, settings, fingerprint, kept_in)._begin()

    # -- asking --------------------------------------------------------------------------------------------------------

    async def generate(self, spec: GenerateSpec, call: EngineCall) -> AsyncGenerator[Events, None]:
        """Generate an answer: see `core.ports.Generator`. With several choices, the input is counted once."""
        transport, model = self._open(), self._model
        assert model is not None
        if len(self._inboxes) >= self._settings.max_requests:
            raise CapacityError("The model has reached its maximum number of requests.", retry_after_s=5)
        number, self._next = self._next, self._next + 1
        request = _framed(translated(spec, number, model, self._settings.default_max_tokens, secrets.randbits(32)))
        choices = [Choice(index, spec, offered(spec), model.vocabulary) for index in range(spec.choices)]
        inbox = self._inboxes[number] = Inbox()
        left = len(choices)
        try:
            transport.write(request)
            usage = TokenUsage(0, 0)
            while left:
                events: list[Generated | TokenUsage] = []
                for item in await inbox.take():
                    if isinstance(item, Chunk):
                        choice = choices[item.choice]
                        if choice.ended:
                            continue
                        events += choice.take(item)
                        if choice.ended:
                            left -= 1
                            if choice.stopped:
                                self._tell(Cancel(number, item.choice))
                    elif isinstance(item, Begun):
                        usage = TokenUsage(item.input, 0, item.cached)
                        events.append(usage)
                    elif isinstance(item, Refused):
                        raise _refusal(item, spec, model)
                    else:
                        raise item
                if not left:
                    output = sum(choice.tokens for choice in choices)
                    events.append(TokenUsage(usage.input, output, usage.cached))
                if events:
                    yield tuple(events)
        finally:
            del self._inboxes[number]
            if left:
                self._tell(Cancel(number))

    def _tell(self, command: Cancel) -> None:
        if self._transport is not None:
            self._transport.write(frame(command))

    def stats(self) -> OpenVinoStats:
        return OpenVinoStats(
            running=len(self._inboxes),
            rss_bytes=self._rss_bytes(),
            cache_bytes=self._cache_bytes,
            cache_used_bytes=round(self._cache_bytes * self._cache_share),
            restarts=self._restarts,
            stuck=self._stuck,
            up=self.up,
        )

    # -- hearing -------------------------------------------------------------------------------------------------------

    def handle(self, body: bytes) -> msgspec.Struct | None:
        report: Ready | Unloadable | Stepped = report_decoder.decode(body)
        if not isinstance(report, Stepped):
            return report
        self._cache_bytes, self._cache_share = report.cache_bytes, report.cache_share
        inboxes = self._inboxes
        for begun in report.begun:
            if begun.number in inboxes:
                inboxes[begun.number].put(begun)
        for refused in report.refused:
            if refused.number in inboxes:
                inboxes[refused.number].put(refused)
        for chunk in report.chunks:
            if chunk.number in inboxes:
                failed = chunk.end == OUT_OF_MEMORY
                inboxes[chunk.number].put(CapacityError("The model's cache is full.") if failed else chunk)
        return None

    def ready(self, loaded: Ready) -> None:
        self._model = loaded.model

    def forsaken(self, failure: EngineError) -> None:
        self._model = None
        for inbox in self._inboxes.values():
            inbox.put(failure)


def _framed(request: Generate) -> bytes:
    """Return the request as bytes. Raises `CallerError` for values that no message can hold."""
    try:
        return frame(request)
    except (OverflowError, RecursionError, UnicodeError):
        raise CallerError("The request has a value that cannot be passed to the model.") from None


def _refusal(refused: Refused, spec: GenerateSpec, model: Model) -> AntiphonError:
    prompt = prompt_param(spec)
    match refused.why:
        case Why.EMPTY:
            return CallerError("The prompt is empty.", param=prompt)
        case Why.TOO_LONG:
            return ContextLengthExceeded.by(refused.input, model.context_tokens, prompt)
        case Why.GRAMMAR:
            shaped = spec.format.shape is Shape.SCHEMA
            return CallerError("The schema cannot be enforced.", param="response_format" if shaped else "tools")
        case Why.REJECTED:
            return CallerError("The model cannot process this request: a value is out of range.")
