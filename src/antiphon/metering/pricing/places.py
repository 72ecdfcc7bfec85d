"""The lines of a TOML text on which its keys are, so that an error can name the line.

The library that reads TOML reports lines only for a text that is not TOML. This module reads a valid text, and follows
its tables: a path is the names and, for arrays of tables, the indices that lead to a value.
"""

import re

Path = tuple[str | int, ...]

_HEADER = re.compile(r"\s*(\[\[?)\s*(.+?)\s*\]\]?\s*(#.*)?$")
_KEY = re.compile(r"""\s*((?:"[^"]*"|'[^']*'|[A-Za-z0-9_-]+)(?:\s*\.\s*(?:"[^"]*"|'[^']*'|[A-Za-z0-9_-]+))*)\s*=""")
_PART = re.compile(r""""([^"]*)"|'([^']*)'|([A-Za-z0-9_-]+)""")
_TEXT = re.compile(r'"""|\'\'\'|"(?:[^"\\]|\\.)*"|\'[^\']*\'|#.*|[\[\]{}]')


class Places:
    """The lines of one text's keys."""

    def __init__(self, text: str) -> None:
        self._lines: dict[Path, int] = {}
        table: Path = ()
        numbers: dict[Path, int] = {}
        depth, quotes = 0, ""
        for number, line in enumerate(text.splitlines(), 1):
            if not depth and not quotes:
                if header := _HEADER.match(line):
                    table = _within(numbers, _parts(header[2]))
                    if header[1] == "[[":
                        table = (*table, numbers.get(table, -1) + 1)
                        numbers[table[:-1]] = int(table[-1])
                    self._lines.setdefault(table, number)
                    continue
                if key := _KEY.match(line):
                    path = (*table, *_parts(key[1]))
                    for length in range(len(table) + 1, len(path) + 1):
                        self._lines.setdefault(path[:length], number)
            depth, quotes = _open(line, depth, quotes)

    def line(self, path: Path) -> int:
        """Return the line of the value at that path, or of the nearest table that contains it; 1 if there is none."""
        while path:
            if path in self._lines:
                return self._lines[path]
            path = path[:-1]
        return 1


def _parts(text: str) -> Path:
    return tuple(next(part for part in found.groups() if part is not None) for found in _PART.finditer(text))


def _within(numbers: dict[Path, int], path: Path) -> Path:
    """Return a path with the index of the latest table of each array in it, except the last."""
    found: Path = ()
    for place, part in enumerate(path):
        found = (*found, part)
        if found in numbers and place < len(path) - 1:
            found = (*found, numbers[found])
    return found


def _open(line: str, depth: int, quotes: str) -> tuple[int, str]:
    """Return how many brackets are open at the end of a line, and which long quotes."""
    start = 0
    while True:
        if quotes:
            end = line.find(quotes, start)
            if end < 0:
                return depth, quotes
            start, quotes = end + 3, ""
        found = _TEXT.search(line, start)
        if found is None or found[0].startswith("#"):
            return depth, quotes
        start = found.end()
        if found[0] in ('"""', "'''"):
            quotes = found[0]
        elif found[0] in "[{":
            depth += 1
        elif found[0] in "]}":
            depth -= 1
