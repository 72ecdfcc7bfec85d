"""The bodies that callers send: bounded in bytes while they are read, each and all together, and in time."""

import asyncio
from dataclasses import dataclass

from starlette.requests import ClientDisconnect
from starlette.types import Receive

from antiphon.core.errors import CapacityError, RequestTimeout, TooLarge
from antiphon.core.wire import Opening

PATIENCE_S = 20.0  # how far a sender may fall behind the slowest pace that is waited for
SLOWEST_BYTES_PER_S = 4_000
RETRY_AFTER_S = 5


@dataclass(slots=True)
class Uploads:
    """What is held in memory, of all routes together: at most `each_bytes` for one body, `all_bytes` for all."""

    each_bytes: int
    all_bytes: int
    held: int = 0

    async def read(self, opening: Opening, receive: Receive, most_bytes: int, slack_bytes: int = 0) -> bytes:
        """A body, which counts as held from then on, until the caller of this takes its length off `held`.

        It may have `slack_bytes` around what is bounded. Raises `TooLarge`, `RequestTimeout`, `CapacityError`, and
        Starlette's `ClientDisconnect`.
        """
        most_bytes = min(most_bytes, self.each_bytes)
        too_large = TooLarge(f"The body is larger than {most_bytes} bytes.")
        declared = opening.headers.get("content-length", "0")
        if declared.isdecimal() and int(declared) > most_bytes + slack_bytes:
            raise too_large
        begun = asyncio.get_running_loop().time()
        body = bytearray()
        try:
            more = True
            while more:
                async with asyncio.timeout_at(begun + PATIENCE_S + len(body) / SLOWEST_BYTES_PER_S):
                    message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientDisconnect
                chunk = message.get("body", b"")
                more = message.get("more_body", False)
                body += chunk
                self.held += len(chunk)
                if len(body) > most_bytes + slack_bytes:
                    raise too_large
                if self.held > self.all_bytes:
                    raise CapacityError("Too much is being uploaded at once.", retry_after_s=RETRY_AFTER_S)
            return bytes(body)
        except BaseException as error:
            self.held -= len(body)
            if isinstance(error, TimeoutError):
                raise RequestTimeout("The body arrives too slowly.") from None
            raise
