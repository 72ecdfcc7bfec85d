"""The id of the server that a data directory belongs to. What it writes into shared stores carries it."""

import uuid
from pathlib import Path

from antiphon.core.errors import InternalError
from antiphon.storage.files import write_whole

FILE_NAME = "server-id"  # in the data directory: a UUID. It stays what it is for as long as the directory does


def server_id(directory: Path) -> str:
    """Made when it is first asked for, durable on return. Raises `InternalError` if it cannot be read or written."""
    path = directory / FILE_NAME
    try:
        if path.exists():
            return str(uuid.UUID(path.read_text("ascii").strip()))
        made = str(uuid.uuid4())
        write_whole(path, f"{made}\n".encode())
        return made
    except (OSError, ValueError) as error:
        raise InternalError(f"{path} cannot be read: put it back, or remove it to get another id") from error
