"""A house of fakes that does Google's long-running operations, asked over gRPC and REST without a socket."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from antiphon.core.errors import AntiphonError
from antiphon.core.routing import CallRow, LookupRow
from antiphon.core.wire import Head, Opening, Step
from antiphon.jobs import items
from antiphon.jobs.filler import Filler
from antiphon.jobs.worker import Worker
from antiphon.routes import GRPC_ROUTES, JOB_CALLS, JOB_KINDS, ROUTES
from antiphon.surfaces.google.messages import kind, read
from antiphon.surfaces.google.status import DETAILS, Code
from session_house import House

V2, V1, OPERATIONS = "google.cloud.speech.v2", "google.cloud.speech.v1", "google.longrunning"
PARENT = "projects/p/locations/global"
NAME = f"{PARENT}/recognizers/_"
RAW = {"explicit_decoding_config": {"encoding": "LINEAR16", "sample_rate_hertz": 16_000}, "model": "tiny"}


class Refused(Exception):
    """What a call was told in place of its answer."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message


class Held:
    """A body, which nobody counts."""

    def add(self, more_bytes: int) -> None: ...

    def keep(self, most_bytes: int) -> None: ...

    def release(self) -> None: ...


class GoogleOffice(House):  # type: ignore[misc]
    """The house, and a worker of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.hired()

    def hired(self) -> None:
        """A worker that has just started, as after a death."""
        self.filler = Filler(self.sessions, self.clock, 4)
        rows = {(row.surface, row.path): row for row in JOB_CALLS if isinstance(row, CallRow)}
        services = items.Services(self.door, self.ledger, self.clock, self.filler, rows, None)
        self.worker = Worker(services, self.tiers, JOB_KINDS, "server", 4)
        self.jobs.wake = self.worker.wake
        self.clock.advance_ms(2000)  # in which nothing interactive was there

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """While its worker works, and then is killed."""
        tasks = [asyncio.create_task(self.worker.run()), asyncio.create_task(self.worker.watch_items())]
        try:
            yield
        finally:
            for task in (*tasks, *self.worker._runs):
                task.cancel()
            await asyncio.gather(*tasks, *self.worker._runs, return_exceptions=True)

    async def call(self, method: str, answer: str = "", **fields: Any) -> Any:
        """The answer over gRPC, an operation unless it is said; `method` as `PACKAGE/NAME`."""
        package, _, name = method.rpartition("/")
        row = next(r for r in GRPC_ROUTES if r.path.startswith(f"/{package}.") and r.path.endswith(f"/{name}"))
        assert isinstance(row, LookupRow)
        body = kind(f"{package}.{name}Request")(**fields).SerializeToString()
        step = await self._looked_up(row, self._opening("POST", row.path), body)
        assert step.close is not None
        self.trailers = step.close.trailers
        if step.close.code:
            assert step.close.trailers[0][0] == DETAILS
            raise Refused(Code(step.close.code), step.close.reason)
        return read(answer or f"{OPERATIONS}.Operation", step.sends[0])  # type: ignore[arg-type]

    async def rest(self, method: str, path: str, body: Any = None, **query: str) -> Any:
        """The JSON of the answer."""
        row = next(
            row
            for row in ROUTES
            if isinstance(row, LookupRow) and (row.surface, row.method) == ("google", method)
            if row.endpoint.rest.path.fullmatch(path)  # type: ignore[attr-defined]
        )
        opening = self._opening(method, path, tuple(query.items()))
        step = await self._looked_up(row, opening, b"" if body is None else msgspec.json.encode(body))
        head, data = step.sends
        assert isinstance(head, Head)
        assert isinstance(data, bytes)
        answer = msgspec.json.decode(data)
        if head.status != 200:
            raise Refused(Code[answer["error"]["status"]], answer["error"]["message"])
        return answer

    async def _looked_up(self, row: LookupRow, opening: Opening, body: bytes) -> Step:
        async def sent(principal: Any) -> tuple[Held, bytes]:
            return Held(), body

        try:
            return await self.door.look_up(row, opening, sent)
        except AntiphonError as error:
            return self.door.refuse(row, opening, error)

    def _opening(self, method: str, path: str, query: tuple[tuple[str, str], ...] = ()) -> Opening:
        headers = {"x-goog-api-key": "secret"}
        return Opening(method, path, query, headers, (), str(uuid.uuid4()), self.clock.unix_ms())

    async def done(self, name: str) -> Any:
        """The operation, once it is done."""
        async with asyncio.timeout(10):
            while not (found := await self.call(f"{OPERATIONS}/GetOperation", name=name)).done:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
        return found
