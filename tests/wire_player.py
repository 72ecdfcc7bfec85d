"""What the wire scripts of every vendor have in common: small text files that say what comes in, and exactly what must
go out. Lines that begin with `#`, and empty ones, are for the reader.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable


class WirePlayer(ABC):
    """Plays the lines of a script that come in; `play` gives the whole script back, with what went out. `headers` are
    those of the next call.
    """

    headers: dict[str, str]

    def play(self, script: str) -> str:
        out: list[str] = []
        for line in script.splitlines():
            if line[:1] in ("<", "=", "x"):
                continue
            out.append(line)
            mark, _, rest = line.partition(" ")
            if mark == ":":
                name, _, value = rest.partition(": ")
                self.headers[name] = value
            elif mark not in ("", "#"):
                out.extend(self._line(mark, rest))
        return "\n".join(out) + "\n"

    @abstractmethod
    def _line(self, mark: str, rest: str) -> Iterable[str]:
        """What goes out at one. Raises `ValueError` for a mark that means nothing."""
