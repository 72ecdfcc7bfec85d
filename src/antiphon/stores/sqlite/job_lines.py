"""The lines of blobs that are read and erased beside their jobs. Functions on an open transaction."""

from collections.abc import Sequence
from sqlite3 import Connection

from antiphon.core.errors import NotFound
from antiphon.stores.sqlite.jobs_schema import Rows

_OVERLAPPING = """
SELECT start FROM pieces WHERE project = ? AND blob = ? AND start < ? AND start >= coalesce(
    (SELECT max(start) FROM pieces WHERE project = ? AND blob = ? AND start <= ?), 0) ORDER BY start"""
_BODY = "SELECT body FROM pieces WHERE project = ? AND blob = ? AND start = ?"
_OVERWRITE = "UPDATE pieces SET body = ? WHERE project = ? AND blob = ? AND start = ?"


def read(t: Connection, rows: Rows, project: str, id: str, start: int, size: int) -> bytes:
    """Return at most `size` bytes of a blob from `start` on. Raises `NotFound` if its key was destroyed."""
    parts = []
    for at in _pieces(t, project, id, start, start + size):
        body = _body(t, rows, project, id, at)
        parts.append(body[max(0, start - at) : start + size - at])
    return b"".join(parts)


def blank(t: Connection, rows: Rows, project: str, id: str, spans: Sequence[tuple[int, int]]) -> None:
    """Overwrite parts of a blob by `{}` and blanks, piece by piece; each piece is sealed anew once."""
    left = list(reversed(spans))
    for at in _pieces(t, project, id, spans[0][0], sum(spans[-1])) if spans else ():
        body = bytearray(_body(t, rows, project, id, at))
        end = at + len(body)
        while left and left[-1][0] < end:
            start, size = left[-1]
            first, last = max(start, at), min(start + size, end)
            if first < last:
                body[first - at : last - at] = b"{}".ljust(size)[first - start : last - start]
            if start + size > end:
                break  # the rest is in the next piece
            left.pop()
        t.execute(_OVERWRITE, (rows.seal_piece(project, id, at, bytes(body)), project, id, at))


def _pieces(t: Connection, project: str, id: str, start: int, end: int) -> list[int]:
    return [at for (at,) in t.execute(_OVERLAPPING, (project, id, end, project, id, start))]


def _body(t: Connection, rows: Rows, project: str, id: str, at: int) -> bytes:
    row = t.execute(_BODY, (project, id, at)).fetchone()
    if row is None:
        raise NotFound("File not found.")
    return rows.unseal_piece(project, id, at, row["body"])
