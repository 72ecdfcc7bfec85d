"""The protocol's message shapes, and the common part of its endpoints: where the key is, and the shape of errors.

An error is `{"error": "..."}` with its status. The specification is at
https://github.com/kserve/open-inference-protocol; the binary tensor data extension is Triton's, and KServe's too.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Literal

from msgspec import UNSET, Raw, Struct, UnsetType
from msgspec.json import Encoder

from antiphon.core.errors import AntiphonError, Unauthenticated
from antiphon.core.tensors import Parameter
from antiphon.core.wire import Bearer, Opening, Response, bearer

JSON = "application/json"
BINARY = "application/octet-stream"
JSON_LENGTH = "inference-header-content-length"  # the length of the JSON, if bytes follow it

Parameters = dict[str, Parameter]

encode = Encoder().encode


def elements(pieces: Iterable[Sequence[Any]]) -> Raw:
    """Encode the elements of a tensor, piece by piece: other threads wait for each call of the encoder."""
    return Raw(b"[" + b",".join(encode(piece)[1:-1] for piece in pieces) + b"]")


# -- what is asked -----------------------------------------------------------------------------------------------------


class InputTensor(Struct, frozen=True, forbid_unknown_fields=True):
    """An input tensor; `data` is absent if `binary_data_size` says that its bytes follow the JSON."""

    name: str
    shape: list[int]
    datatype: str
    parameters: Parameters = {}
    data: list[Any] | UnsetType = UNSET


class OutputWanted(Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    parameters: Parameters = {}


class InferRequest(Struct, frozen=True, forbid_unknown_fields=True):
    inputs: list[InputTensor]
    id: str | UnsetType = UNSET
    parameters: Parameters = {}
    outputs: list[OutputWanted] = []


# -- what is answered --------------------------------------------------------------------------------------------------


class OutputTensor(Struct, frozen=True):
    name: str
    datatype: str
    shape: list[int]
    parameters: Parameters | UnsetType = UNSET
    data: Any = UNSET


class InferResponse(Struct, frozen=True):
    model_name: str
    outputs: list[OutputTensor]
    model_version: str | UnsetType = UNSET
    id: str | UnsetType = UNSET
    parameters: Parameters | UnsetType = UNSET


class Form(Struct, frozen=True):
    name: str
    datatype: str
    shape: list[int]


class ModelMetadata(Struct, frozen=True):
    name: str
    platform: str
    inputs: list[Form]
    outputs: list[Form]
    versions: list[str] | UnsetType = UNSET


class ModelReady(Struct, frozen=True):
    name: str
    ready: bool


class ServerMetadata(Struct, frozen=True):
    version: str
    name: Literal["antiphon"] = "antiphon"
    extensions: tuple[str, ...] = ("binary_tensor_data",)


class Live(Struct, frozen=True):
    live: bool


class Ready(Struct, frozen=True):
    """Readiness. The specification's text has `live` here, its OpenAPI document `ready`; so both."""

    ready: bool
    live: bool


class ErrorBody(Struct, frozen=True):
    error: str


def json_response(opening: Opening, status: int, body: Struct, extra: tuple[tuple[str, str], ...] = ()) -> Response:
    return Response(status, headers(opening, JSON) + extra, encode(body))


def headers(opening: Opening, content_type: str) -> tuple[tuple[str, str], ...]:
    return (("content-type", content_type), ("x-request-id", opening.request_id))


class Endpoint:
    """The common part of the protocol's endpoints."""

    def credential(self, opening: Opening, first: str | bytes | None = None) -> Bearer | None:
        """Return the key of `Authorization: Bearer KEY`; the scheme in any case (RFC 9110, section 11.1)."""
        scheme, _, key = opening.headers.get("authorization", "").partition(" ")
        return bearer(key) if scheme.lower() == "bearer" else None

    def refuse(self, opening: Opening, error: AntiphonError) -> Response:
        extra: tuple[tuple[str, str], ...] = ()
        if error.retry_after_s is not None:
            extra += (("retry-after", str(error.retry_after_s)),)
        if isinstance(error, Unauthenticated):
            extra += (("www-authenticate", "Bearer"),)
        return json_response(opening, error.status, ErrorBody(error.message), extra)
