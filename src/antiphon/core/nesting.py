"""How deep a caller's JSON may be nested: Python bounds its levels together with the frames that are open."""

from collections.abc import Callable
from typing import TypeVar

R = TypeVar("R")

RESERVE = 100  # frames
FLAT_BYTES = 1024  # a smaller document cannot be nested so deep that it matters


def below(work: Callable[..., R], *arguments: object, frames: int = RESERVE) -> R:
    """Return what `work` returns, called that many frames deeper than here. JSON that it can read can then be written
    and read again wherever the call is answered, and what cannot is refused before anything is charged.
    """
    return below(work, *arguments, frames=frames - 1) if frames else work(*arguments)
