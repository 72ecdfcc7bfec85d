"""When each key was last used, to the minute: one small file, written once a minute if any key was used, not with every
call. The audit log has each call; this answers at once whether a key is still needed.
"""

import asyncio
import json
import logging
from collections.abc import Callable, Container, Mapping
from pathlib import Path

from antiphon.storage.files import write_whole

FILE_NAME = "key-uses"  # in the data directory: JSON, Unix milliseconds by the ids of keys
SAVE_S = 60.0

LastUse = Callable[[str], int | None]  # of a key, by its id: Unix milliseconds

log = logging.getLogger(__name__)


class LastUses:
    """The last use of each key. `take` returns those since it was called last; `known` returns the keys that there are.
    For one event loop; `of` is for any thread.
    """

    def __init__(self, path: Path, take: Callable[[], Mapping[str, int]], known: Callable[[], Container[str]]) -> None:
        self._path = path
        self._take = take
        self._known = known
        self._uses = read_uses(path)

    def of(self, key_id: str) -> int | None:
        """Return when a key was last used (Unix milliseconds), a minute late at most; `None` for never."""
        return self._uses.get(key_id)

    async def watch(self) -> None:
        """Save at intervals, for ever."""
        while True:
            await asyncio.sleep(SAVE_S)
            await self.save()

    async def save(self) -> None:
        """Save the uses, durably, if there are new ones. A failure of the disk is logged; they are saved later."""
        uses, known = self._take(), self._known()
        if not uses:
            return
        self._uses = {key: at for key, at in {**self._uses, **uses}.items() if key in known}
        try:
            await asyncio.to_thread(write_whole, self._path, json.dumps(self._uses).encode())
        except OSError as error:
            log.error("the last use of keys cannot be saved", exc_info=error)


def read_uses(path: Path) -> dict[str, int]:
    """Return what a server has saved; nothing if there is no such file, or it is damaged."""
    try:
        found = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    return {str(key): at for key, at in found.items() if type(at) is int} if isinstance(found, dict) else {}
