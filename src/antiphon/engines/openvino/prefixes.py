"""An estimate of how much of a prompt was in the prefix cache.

The pipeline does not say, so its rule is followed here: blocks of `BLOCK_TOKENS` tokens, each identified by all tokens
up to its end, the least recently used dropped first. Only whole blocks are counted, while the pipeline may also find
the partial one at the end of another text, so the count is exact to a block, or too low.
"""

from collections import OrderedDict
from collections.abc import Iterator

from antiphon.engines.openvino.messages import BLOCK_TOKENS


class Prefixes:
    """The blocks in the cache. `capacity` is in blocks, 0 if nothing is kept."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._known: OrderedDict[int, None] = OrderedDict()

    def cached(self, tokens: list[int]) -> int:
        """Return how many of a prompt's tokens are cached. The last is always computed, as the next follows from it."""
        found = 0
        for block in _blocks(tokens):
            if block not in self._known:
                break
            found += BLOCK_TOKENS
        return min(found, max(len(tokens) - 1, 0))

    def remember(self, tokens: list[int]) -> None:
        """Note that a text was computed."""
        for block in _blocks(tokens):
            self._known[block] = None
            self._known.move_to_end(block)
        while len(self._known) > self._capacity:
            self._known.popitem(last=False)


def _blocks(tokens: list[int]) -> Iterator[int]:
    """Yield an id for each whole block, which depends on all tokens up to its end."""
    name = 0
    for end in range(BLOCK_TOKENS, len(tokens) + 1, BLOCK_TOKENS):
        name = hash((name, *tokens[end - BLOCK_TOKENS : end]))
        yield name
