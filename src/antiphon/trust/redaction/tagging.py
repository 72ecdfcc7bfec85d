"""A model that is loaded at its first use, so that a server that hides no names holds none in memory."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

from antiphon.core.redaction import Span, Tagger


class Closing(Tagger, Protocol):
    """A tagger that must be closed."""

    async def close(self) -> None: ...


class LazyTagger:
    """Implements `core.redaction.Tagger`. `load` blocks; if it fails, it is tried again at the next use."""

    def __init__(self, load: Callable[[], Closing]) -> None:
        self._load = load
        self._loading: asyncio.Task[Closing] | None = None

    async def tag(self, texts: Sequence[str]) -> list[tuple[Span, ...]]:
        """Return the spans in each text. Raises the model's errors, and those of `load`."""
        if self._loading is None or (self._loading.done() and self._loading.exception() is not None):
            self._loading = asyncio.create_task(asyncio.to_thread(self._load), name="load the model for redaction")
        tagger = await asyncio.shield(self._loading)
        return await tagger.tag(texts)

    async def close(self) -> None:
        if self._loading is not None:
            loaded = (await asyncio.gather(self._loading, return_exceptions=True))[0]
            if not isinstance(loaded, BaseException):
                await loaded.close()
