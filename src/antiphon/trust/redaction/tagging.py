"""A model that is loaded when it is first asked, so that a server that hides no names holds none in memory."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

from antiphon.core.redaction import Span, Tagger


class Closing(Tagger, Protocol):
    """A tagger that holds something."""

    async def close(self) -> None: ...


class LazyTagger:
    """Implements `core.redaction.Tagger`. `load` blocks, and is tried again where it failed."""

    def __init__(self, load: Callable[[], Closing]) -> None:
        self._load = load
        self._loading: asyncio.Task[Closing] | None = None

    async def tag(self, texts: Sequence[str]) -> list[tuple[Span, ...]]:
        """The spans in each text. Raises as the model does, and as loading it did."""
        if self._loading is None or (self._loading.done() and self._loading.exception() is not None):
            self._loading = asyncio.create_task(asyncio.to_thread(self._load), name="load the model for redaction")
        tagger = await asyncio.shield(self._loading)
        return await tagger.tag(texts)

    async def close(self) -> None:
        if self._loading is not None:
            loaded = (await asyncio.gather(self._loading, return_exceptions=True))[0]
            if not isinstance(loaded, BaseException):
                await loaded.close()
