"""The id of the server that a data directory belongs to. Its entries in shared stores contain it."""

import uuid
from pathlib import Path

from antiphon.core.errors import InternalError
from antiphon.storage.files import write_once

FILE_NAME = "server-id"  # in the directory: a UUID, which never changes


def server_id(directory: Path) -> str:
    """Return the id, made on first use and durable on return. The same for all callers, also concurrent ones: the
    directory is locked later. Raises `InternalError` if it cannot be read or written.
    """
    path = directory / FILE_NAME
    try:
        if not path.exists():
            write_once(path, f"{uuid.uuid4()}\n".encode())
        return str(uuid.UUID(path.read_text("ascii").strip()))
    except (OSError, ValueError) as error:
        raise InternalError(f"{path} cannot be read: put it back, or remove it to get another id") from error
