"""Server-sent events, as far as engines use them: the payloads of `data:` fields, from bytes as they arrive.

A line ends with `\\n` or `\\r\\n`, an event with an empty line; several `data:` lines of one event are joined by a
newline. Comments and other fields are skipped. (WHATWG HTML, section 9.2.6; a lone `\\r` as a line's end is not
supported, since no engine writes one.)
"""

from antiphon.core.errors import EngineError


class EventSplitter:
    """Splits one stream into events. One longer than `max_bytes` is the engine's failure."""

    __slots__ = ("_data", "_data_bytes", "_max_bytes", "_rest")

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._rest = b""  # of a line that has not ended
        self._data: list[bytes] = []  # lines of an event that has not ended
        self._data_bytes = 0

    def feed(self, received: bytes) -> list[bytes]:
        """Return the payloads of the events that ended in `received`. Raises `EngineError`."""
        lines = (self._rest + received if self._rest else received).split(b"\n")
        self._rest = lines.pop()
        payloads: list[bytes] = []
        data, data_bytes = self._data, self._data_bytes
        for line in lines:
            if line.startswith(b"data:"):
                value = line[6:] if line.startswith(b" ", 5) else line[5:]
                data.append(value.removesuffix(b"\r"))
                data_bytes += len(value) + 1
            elif data and (not line or line == b"\r"):
                payloads.append(b"\n".join(data) if len(data) > 1 else data[0])
                data.clear()
                data_bytes = 0
        self._data_bytes = data_bytes
        if len(self._rest) + data_bytes > self._max_bytes:
            raise EngineError(f"The model's server sent an event of more than {self._max_bytes} bytes.")
        return payloads
