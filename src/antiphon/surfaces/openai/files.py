"""`/v1/files`: the inputs and outputs of batches, and recordings (`user_data`) that their lines name.

A file belongs to its project and ends at its `expires_at`: the caller's, or the policy's if that is earlier.
"""

from collections.abc import Mapping, Sequence

from antiphon.core.errors import AntiphonError, CallerError, NotFound, UnsupportedParameter
from antiphon.core.jobs import Blob, FileAct, ManyFiles, NewFile, OneFile, Page
from antiphon.core.wire import Body, Opening, Response
from antiphon.surfaces.openai import batch_wire, wire
from antiphon.surfaces.openai import generation as shared
from antiphon.surfaces.openai.addressing import PREFIX
from antiphon.surfaces.openai.batch_wire import listed

ID_PREFIX = "file-"
INPUT, OUTPUT, OTHER = PURPOSES = "batch", "batch_output", "user_data"
MAX_FILE_BYTES = 64 << 20
MAX_NAME = 255  # characters, as they are kept
MAX_FILES_LISTED = 10_000
SHORTEST_S, LONGEST_S = 3600, 2_592_000  # of `expires_after`: OpenAI's own

_ANCHOR, _SECONDS = "expires_after[anchor]", "expires_after[seconds]"


class CreateFile(wire.Endpoint):
    """`POST /v1/files`, a form."""

    def ask(self, opening: Opening, body: Body) -> NewFile:
        """Return the file to create. Raises a `CallerError`."""
        queried(opening)
        fields = dict(body.fields)
        if len(fields) < len(body.fields):
            raise CallerError("A field was given more than once.")
        for name in fields:
            if name not in ("purpose", _ANCHOR, _SECONDS):
                raise UnsupportedParameter("This parameter is unknown or not supported.", param=name[:64])
        if "purpose" not in fields:
            raise CallerError("Missing required parameter: 'purpose'.", param="purpose")
        purpose = fields["purpose"]
        shared.one_of(purpose, (INPUT, OTHER), "purpose")
        if not body.data:
            raise CallerError("The file is missing, or empty.", param="file")
        keep_s = None
        if _ANCHOR in fields or _SECONDS in fields:
            keep_s = expiry(fields.get(_ANCHOR), whole(fields.get(_SECONDS, "")), "expires_after")
        id = ID_PREFIX + opening.new_id.replace("-", "")
        name = body.filename[:MAX_NAME] or "file"
        return NewFile(
            id,
            name,
            purpose,
            body.data,
            keep_s,
            lambda blob: wire.json_response(opening, 200, file_object(blob)),
        )


class ListFiles(wire.Endpoint):
    """`GET /v1/files`."""

    def ask(self, opening: Opening, body: bytes) -> ManyFiles | Response:
        query = queried(opening, "after", "limit", "order", "purpose")
        shared.one_of(query.get("order"), ("asc", "desc"), "order")
        page = Page(
            query.get("after", ""), limit(query, MAX_FILES_LISTED, MAX_FILES_LISTED), query.get("order") != "asc"
        )

        def tell(blobs: Sequence[Blob], more: bool) -> Response:
            found = [file_object(blob) for blob in blobs]
            return wire.json_response(opening, 200, listed(batch_wire.FileList, found, more))

        purpose = query.get("purpose")
        if purpose and purpose not in PURPOSES:
            return tell((), False)  # there are none
        return ManyFiles((purpose,) if purpose else PURPOSES, page, tell)


class _OneFile(wire.Endpoint):
    """The common part of the routes of one file."""

    act = FileAct.SHOW

    def ask(self, opening: Opening, body: bytes) -> OneFile:
        queried(opening)
        return OneFile(self.act, _id(opening), PURPOSES, lambda blob, data: self.show(opening, blob, data))

    def show(self, opening: Opening, blob: Blob, data: bytes) -> Response:
        return wire.json_response(opening, 200, file_object(blob))

    def refuse(self, opening: Opening, error: AntiphonError) -> Response:
        if isinstance(error, NotFound):
            error = NotFound(f"No such File object: {_id(opening)[:64]}", param="id")
        return super().refuse(opening, error)


class RetrieveFile(_OneFile):
    """`GET /v1/files/{id}`."""


class DeleteFile(_OneFile):
    """`DELETE /v1/files/{id}`. A batch that still reads it fails."""

    act = FileAct.DELETE

    def show(self, opening: Opening, blob: Blob, data: bytes) -> Response:
        return wire.json_response(opening, 200, batch_wire.FileDeleted(blob.id))


class FileContent(_OneFile):
    """`GET /v1/files/{id}/content`."""

    act = FileAct.READ

    def show(self, opening: Opening, blob: Blob, data: bytes) -> Response:
        return Response(200, wire.headers(opening, "application/octet-stream"), data)


def file_object(blob: Blob) -> batch_wire.FileObject:
    return batch_wire.FileObject(
        id=blob.id,
        bytes=blob.size_bytes,
        created_at=blob.created_unix_ms // 1000,
        expires_at=blob.ends_unix_ms // 1000,
        filename=blob.name,
        purpose=blob.purpose,
    )


def queried(opening: Opening, *known: str) -> Mapping[str, str]:
    """Return the URL's parameters; only these and Azure's `api-version` are allowed. Raises `UnsupportedParameter`."""
    allowed = {*known, "api-version"} if opening.path.startswith(PREFIX) else {*known}
    for name, _ in opening.query:
        if name not in allowed:
            raise UnsupportedParameter("This is not supported in the URL.", param=name[:64])
    return dict(opening.query)


def limit(query: Mapping[str, str], most: int, usual: int) -> int:
    """Return the page size, at most `most`, `usual` by default. Raises `CallerError`."""
    found = whole(query["limit"]) if "limit" in query else usual
    if found is None or not 1 <= found <= most:
        raise CallerError(f"'limit' must be a number from 1 to {most}.", param="limit")
    return found


def whole(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None


def expiry(anchor: str | None, seconds: int | None, param: str) -> int:
    """Return the lifetime in seconds. Raises `CallerError`."""
    if anchor != "created_at":
        raise CallerError("The anchor must be 'created_at'.", param=f"{param}.anchor")
    if seconds is None or not SHORTEST_S <= seconds <= LONGEST_S:
        raise CallerError(f"Expected a number from {SHORTEST_S} to {LONGEST_S}.", param=f"{param}.seconds")
    return seconds


def _id(opening: Opening) -> str:
    return opening.path.rpartition("/files/")[2].removesuffix("/content")
