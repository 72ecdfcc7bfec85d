"""The id of the server that a data directory belongs to. What it writes into shared stores carries it."""

import uuid
from pathlib import Path

from antiphon.core.errors import InternalError
from antiphon.storage.files import write_once

FILE_NAME = "server-id"  # in the data directory: a UUID. It stays what it is for as long as the directory does


def server_id(directory: Path) -> str:
    """Made when it is first asked for, durable on return; the same for all who ask, at once or not: the lock on the
    directory comes later. Raises `InternalError` if it cannot be read or written.
    """
    path = directory / FILE_NAME
    try:
        if not path.exists():
            write_once(path, f"{uuid.uuid4()}\n".encode())
        return str(uuid.UUID(path.read_text("ascii").strip()))
    except (OSError, ValueError) as error:
        raise InternalError(f"{path} cannot be read: put it back, or remove it to get another id") from error
