"""The signing of the audit log's checkpoints, and their delivery to places that the server's operator cannot change.

This is done once a minute, if the log has grown, and at the end. A checkpoint is signed only if the log continues the
last signed one, which is in the data directory. So a log that was cut, rewritten or restored is never signed, and those
who keep checkpoints elsewhere see that no new ones come. Witnesses are asked for their signatures first; a signature
that does not come in time is left out, and nothing waits for it.
"""

import asyncio
import logging
import os
from base64 import b64encode
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from antiphon.core import merkle
from antiphon.core.errors import AntiphonError, InternalError
from antiphon.core.ports import Clock
from antiphon.core.stores import Trail
from antiphon.storage.files import write_whole
from antiphon.trust import checkpoint as notes
from antiphon.trust.audit import Auditor
from antiphon.trust.bucket import Bucket
from antiphon.trust.checkpoint import Checkpoint, Signature, Signer, Verifier
from antiphon.trust.fetch import Answer

FILE_NAME = "audit-checkpoint"  # in the data directory: the last signed checkpoint
EVERY_S = 60.0
MAX_ANSWER_BYTES = 16 * 1024
MAX_PROOF_LINES = 63  # the limit of tlog-witness
_PLAIN = {"content-type": "text/plain; charset=utf-8"}
_SIZE_TYPE = "text/x.tlog.size"

log = logging.getLogger(__name__)


class Posts(Protocol):
    """The guarded fetcher's part that sends."""

    async def post(self, url: str, body: bytes, headers: dict[str, str]) -> int: ...

    async def put(self, url: str, body: bytes, headers: dict[str, str]) -> int: ...

    async def exchange(self, url: str, body: bytes, headers: dict[str, str], max_bytes: int) -> Answer: ...


@dataclass(frozen=True, slots=True)
class Outside:
    """The destinations of checkpoints. Each one is appended to `file`, sent to `webhook`, put into `bucket` under its
    size and time, and signed by the `witnesses` (their addresses and keys).
    """

    file: Path | None = None
    webhook: str = ""
    witnesses: tuple[tuple[str, Verifier], ...] = ()
    bucket: Bucket | None = None


async def hash_of(trail: Trail, leaves: merkle.Range) -> bytes:
    """Return the hash of a range that a proof names, or of the whole tree. Raises `InternalError`."""
    return merkle.fold(await trail.hashes(merkle.subtrees(leaves)))


async def proof_of(trail: Trail, ranges: Sequence[merkle.Range]) -> list[bytes]:
    """Return the hashes of these ranges, in order. Raises `InternalError`."""
    return [await hash_of(trail, each) for each in ranges]


async def continues(trail: Trail, before: Checkpoint, size: int, root: bytes) -> bool:
    """Return whether the log at `size` with `root` continues the checkpoint `before`. Raises `InternalError`."""
    if size < before.size:
        return False
    proof = await proof_of(trail, merkle.consistency(before.size, size))
    return merkle.consistent(before.size, before.root, size, root, proof)


class Notary:
    """The signer of one log's checkpoints. For one event loop."""

    def __init__(
        self, trail: Trail, signer: Signer, data_dir: Path, outside: Outside, posts: Posts, clock: Clock
    ) -> None:
        """Read the last checkpoint; blocking. Raises `InternalError` if it cannot be read."""
        self._trail = trail
        self._signer = signer
        self._path = data_dir / FILE_NAME
        self._outside = outside
        self._posts = posts
        self._clock = clock
        self._known: dict[str, int] = {}  # by a witness's address: the size of the log that it has seen
        self.last = read_last(data_dir)

    @property
    def origin(self) -> str:
        return self._signer.verifier.name

    async def watch(self) -> None:
        """Sign once a minute, for ever."""
        while True:
            await asyncio.sleep(EVERY_S)
            await self.look()

    async def look(self) -> None:
        """Sign if the log has grown. A failure is logged, and tried again the next time."""
        try:
            await self.sign()
        except (AntiphonError, OSError) as error:
            log.error("no checkpoint of the audit log could be made", extra={"reason": str(error)})

    async def sign(self) -> Checkpoint | None:
        """Sign the log's present state and deliver the checkpoint; return it, or `None` if the log has not grown.
        Raises `InternalError` if the log does not continue the last checkpoint, `OSError` if it cannot be written.
        """
        size = await self._trail.size()
        root = await hash_of(self._trail, (0, size))
        if self.last is not None:
            if not await continues(self._trail, self.last, size, root):
                raise InternalError(f"the audit log does not continue its checkpoint at {self.last.size} records")
            if size == self.last.size:
                return None
        elif not size:
            return None
        signed = self._signer.sign(Checkpoint(self._signer.verifier.name, size, root))
        await self._keep(signed)
        cosigned = signed.with_signatures(await self._witnessed(signed))
        if cosigned != signed:
            await self._keep(cosigned)
        await self._take_outside(cosigned)
        return cosigned

    async def _keep(self, checkpoint: Checkpoint) -> None:
        await asyncio.to_thread(write_whole, self._path, checkpoint.note().encode())
        self.last = checkpoint

    async def _take_outside(self, checkpoint: Checkpoint) -> None:
        head = f"{checkpoint.size} {b64encode(checkpoint.root).decode()}"
        log.info("checkpoint of the audit log", extra={"reason": head})
        note = checkpoint.note().encode()
        try:
            if self._outside.file is not None:
                await asyncio.to_thread(_append, self._outside.file, note + b"\n")
        except OSError as error:
            log.error("a checkpoint cannot be written to its file", extra={"reason": error.strerror})
        if self._outside.webhook:
            await _taken("webhook", self._posts.post(self._outside.webhook, note, _PLAIN))
        if self._outside.bucket is not None:
            at_unix_s = self._clock.unix_ms() // 1000
            name = f"{checkpoint.size:012}-{at_unix_s}.checkpoint"  # listed in order
            url, headers = self._outside.bucket.put(name, note, _PLAIN["content-type"], at_unix_s)
            await _taken("bucket", self._posts.put(url, note, headers))

    # -- witnesses -----------------------------------------------------------------------------------------------------

    async def _witnessed(self, checkpoint: Checkpoint) -> list[Signature]:
        requests = [self._witness(url, key, checkpoint) for url, key in self._outside.witnesses]
        return [signature for signatures in await asyncio.gather(*requests) for signature in signatures]

    async def _witness(self, url: str, key: Verifier, checkpoint: Checkpoint) -> list[Signature]:
        """Return the valid signatures of one witness; none if it does not answer with one."""
        try:
            answer = await self._ask(url, checkpoint)
            if answer.status == 409 and answer.content_type == _SIZE_TYPE:  # it has seen another size than expected
                self._known[url] = _size(answer.body, checkpoint.size)
                answer = await self._ask(url, checkpoint)
            if answer.status != 200:
                raise InternalError(f"status {answer.status}")
            signatures = notes.parse_signatures(answer.body.decode("utf-8", "replace"))
            mine = [each for each in signatures if key.made(each, checkpoint)]
            if not mine:
                raise InternalError("its signature does not hold")
        except (AntiphonError, ValueError) as error:
            log.warning("a witness did not sign a checkpoint", extra={"reason": f"{key.name}: {error}"})
            return []
        self._known[url] = checkpoint.size
        return mine

    async def _ask(self, url: str, checkpoint: Checkpoint) -> Answer:
        known = self._known.get(url, 0)
        proof = await proof_of(self._trail, merkle.consistency(known, checkpoint.size))
        lines = "".join(f"{b64encode(each).decode()}\n" for each in proof[:MAX_PROOF_LINES])
        body = f"old {known}\n{lines}\n{checkpoint.note()}".encode()
        return await self._posts.exchange(f"{url.rstrip('/')}/add-checkpoint", body, _PLAIN, MAX_ANSWER_BYTES)


@dataclass(frozen=True, slots=True)
class Auditing:
    """The parts of the audit log that the management API uses."""

    auditor: Auditor
    trail: Trail
    notary: Notary


def read_last(data_dir: Path) -> Checkpoint | None:
    """Return the last checkpoint that this server signed; `None` without one. Blocking. Raises `InternalError` if it
    cannot be read.
    """
    path = data_dir / FILE_NAME
    try:
        return notes.parse(path.read_text("utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise InternalError(f"{path} cannot be read: {error}") from None


def _size(body: bytes, most: int) -> int:
    """Return the size in a witness's answer. Raises `ValueError` if it is not a number of at most `most`."""
    text = body.decode("ascii", "replace").removesuffix("\n")
    if not text.isdigit() or len(text) > 18 or int(text) > most:
        raise ValueError("it answers with a size that the log has not")
    return int(text)


async def _taken(place: str, sending: Awaitable[int]) -> None:
    """Wait until a place has taken a checkpoint, and log it if it has not."""
    try:
        status = await sending
    except AntiphonError as error:
        log.error(f"a checkpoint was not taken by its {place}", extra={"reason": error.message})
        return
    if not 200 <= status < 300:
        log.error(f"a checkpoint was not taken by its {place}", extra={"reason": str(status)})


def _append(path: Path, note: bytes) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600), "ab") as file:
        file.write(note)
        file.flush()
        os.fsync(file.fileno())
