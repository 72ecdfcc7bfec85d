"""A connection with successive calls of a language model. Each call is a session of its own; this decides when the
connection ends, and holds the answers that it remembers.
"""

import asyncio
from collections.abc import Callable

from antiphon.calls.services import Services
from antiphon.core.call import Call
from antiphon.core.errors import AntiphonError, Draining, RequestTimeout
from antiphon.session.recent import Recent


class DialogueConnection:
    """One connection. After `lasts_s` seconds, and when the server stops, it ends once no answer is running; when it
    fails, at once.
    """

    was_charged = in_doubt = False
    region = ""  # its calls may be answered in several

    def __init__(
        self,
        services: Services,
        call: Call[None],
        recent: Recent,
        lasts_s: int,
        on_close: Callable[["DialogueConnection"], None],
    ) -> None:
        self.call = call
        self.recent = recent
        self.failed = asyncio.Event()
        self.ending = asyncio.Event()  # set when it fails, too
        self.error: AntiphonError | None = None
        self._services = services
        self._on_close = on_close
        overdue = RequestTimeout("The connection has reached its maximum duration; open a new one.")
        self._alarm = asyncio.get_running_loop().call_later(lasts_s, self._end, overdue)

    def fail(self, error: AntiphonError) -> None:
        """Fail with an error; the first one counts."""
        self._end(error)
        self.failed.set()

    def drain(self) -> None:
        """End once no answer is running, because the server is stopping."""
        self._end(Draining("The server is stopping."))

    def _end(self, error: AntiphonError) -> None:
        self.error = self.error or error
        self.ending.set()

    def close(self) -> None:
        """Free everything. Call it once."""
        self._alarm.cancel()
        self.recent.close()
        self._on_close(self)
        outcome = self.error.code if self.error else "completed"
        self._services.observer.ended(self.call, "", outcome, {})
