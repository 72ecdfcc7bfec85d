"""Marks in a stream's audio: flushes and changes of its settings, kept at the position where they arrived."""

from collections import deque
from collections.abc import Iterator

from antiphon.core.events import Cause
from antiphon.core.ports import Guidance
from antiphon.core.speech import Tuning

MOST_MARKS = 64  # that may wait; beyond that they are merged

StreamMark = Cause | Tuning | Guidance


class Marks:
    """Flushes, changes and the end, in order, until the voice detector has reached them."""

    def __init__(self) -> None:
        self._marks: deque[tuple[int, StreamMark, int]] = deque()

    def __len__(self) -> int:
        return len(self._marks)

    def __iter__(self) -> Iterator[StreamMark]:
        return (mark for _, mark, _ in self._marks)

    @property
    def position(self) -> int | None:
        """Position of the first mark."""
        return self._marks[0][0] if self._marks else None

    def put(self, position: int, mark: StreamMark, now_ns: int) -> None:
        """Add a flush or a change. If there are too many, it replaces the latest of its kind: a change never replaces a
        flush.
        """
        if not isinstance(mark, Cause) and self._marks:
            at, last, _ = self._marks[-1]
            if at == position and type(last) is type(mark):
                self._marks.pop()
        if len(self._marks) >= MOST_MARKS:
            alike = (n for n, (_, other, _) in enumerate(reversed(self._marks)) if type(other) is type(mark))
            if (back := next(alike, None)) is not None:
                del self._marks[-1 - back]
        self._marks.append((position, mark, now_ns))

    def put_end(self, position: int, now_ns: int) -> None:
        """Add the end. It must be the last mark."""
        self._marks.append((position, Cause.END, now_ns))

    def take(self) -> tuple[int, StreamMark, int]:
        """Remove the first mark. Returns its position, the mark, and when it was put."""
        return self._marks.popleft()
