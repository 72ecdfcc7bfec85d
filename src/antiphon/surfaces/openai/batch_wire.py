"""The shapes of OpenAI's files and batches, as its official SDK types them."""

from typing import Any, Literal

from msgspec import UNSET, Raw, Struct, UnsetType


class FileObject(Struct, frozen=True):
    """A file. Times are Unix seconds. `status` is constant, as no file needs preparation."""

    id: str
    bytes: int
    created_at: int
    expires_at: int
    filename: str
    purpose: str
    object: Literal["file"] = "file"
    status: Literal["processed"] = "processed"


class FileList(Struct, frozen=True):
    data: list[FileObject]
    first_id: str | None
    last_id: str | None
    has_more: bool
    object: Literal["list"] = "list"


class FileDeleted(Struct, frozen=True):
    id: str
    object: Literal["file"] = "file"
    deleted: bool = True


class BatchError(Struct, frozen=True):
    """An error of the input; `line` counts from 1."""

    code: str
    message: str
    line: int | None = None
    param: str | None = None


class BatchErrors(Struct, frozen=True):
    data: list[BatchError]
    object: Literal["list"] = "list"


class RequestCounts(Struct, frozen=True):
    total: int
    completed: int
    failed: int


class InputTokensDetails(Struct, frozen=True):
    cached_tokens: int


class OutputTokensDetails(Struct, frozen=True):
    reasoning_tokens: int


class BatchUsage(Struct, frozen=True):
    input_tokens: int
    input_tokens_details: InputTokensDetails
    output_tokens: int
    output_tokens_details: OutputTokensDetails
    total_tokens: int


class Batch(Struct, frozen=True, kw_only=True):
    """The present state of a batch. Times are Unix seconds."""

    id: str
    endpoint: str
    input_file_id: str
    status: str
    created_at: int
    expires_at: int
    request_counts: RequestCounts
    usage: BatchUsage
    completion_window: str = "24h"
    model: str | UnsetType = UNSET
    errors: BatchErrors | None = None
    output_file_id: str | None = None
    error_file_id: str | None = None
    in_progress_at: int | None = None
    finalizing_at: int | None = None
    completed_at: int | None = None
    failed_at: int | None = None
    expired_at: int | None = None
    cancelling_at: int | None = None
    cancelled_at: int | None = None
    metadata: dict[str, str] | None = None
    object: Literal["batch"] = "batch"


class BatchList(Struct, frozen=True):
    data: list[Batch]
    first_id: str | None
    last_id: str | None
    has_more: bool
    object: Literal["list"] = "list"


class LineResponse(Struct, frozen=True):
    status_code: int
    request_id: str
    body: Raw


class LineError(Struct, frozen=True):
    code: str
    message: str


class ResultLine(Struct, frozen=True):
    """A line of an output or an error file."""

    id: str
    custom_id: str
    response: LineResponse | None
    error: LineError | None


def listed(kind: type[Any], data: list[Any], more: bool) -> Any:
    """Return a page of a list."""
    first, last = (data[0].id, data[-1].id) if data else (None, None)
    return kind(data, first, last, more)
