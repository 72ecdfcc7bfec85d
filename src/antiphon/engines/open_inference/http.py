"""A tensor model over HTTP, as an engine. Implements `core.ports.Inferrer`.

Tensors are sent as bytes after the JSON if the server says that it has the binary extension, or if JSON could not hold
them; else as JSON. Connections are pooled, redirects not followed, the environment's proxies not used. Errors are
classified by who caused them: 400, 413 and 422 are the caller's; 429 and 503 mean a full server; any other 4xx is ours,
like the address and the model's name; all others are the engine's. An unknown version is the caller's error.
"""

import re
from math import isfinite
from typing import Any, TypeVar
from urllib.parse import quote

import aiohttp
import msgspec
from msgspec import UNSET, Struct, UnsetType
from yarl import URL

from antiphon.core import tensors
from antiphon.core.errors import AntiphonError, CapacityError, EngineError, EngineMisconfigured, EngineTimeout, NotFound
from antiphon.core.events import Inferred
from antiphon.core.ports import Clock, EngineCall
from antiphon.core.specs import InferSpec, content_bytes
from antiphon.core.tensors import ModelForm, Parameter, Tensor, TensorForm
from antiphon.engines.open_inference.limits import CHECK_S, Limits, Turnstile, beside, blames_caller, checked, left_s

T = TypeVar("T")

BINARY_EXTENSION = "binary_tensor_data"
JSON_LENGTH = "Inference-Header-Content-Length"

_BINARY_SIZE, _BINARY = "binary_data_size", "binary_data_output"
_CALLERS, _FULL = frozenset({400, 413, 422}), frozenset({429, 503})
_MAX_ERROR_BYTES = 65_536
_LENGTH = re.compile("[0-9]{1,18}")
_FLOATS = frozenset({"FP32", "FP64"})
_ONLY_BYTES = frozenset({"FP16", tensors.BF16})  # JSON has no notation for them that all servers read


class _Tensor(Struct):
    name: str
    datatype: str
    shape: list[int]
    parameters: dict[str, Any] | None = None
    data: list[Any] | None = None


class _Answer(Struct):
    outputs: list[_Tensor]
    model_version: str | None = None
    parameters: dict[str, Any] | None = None


class _Form(Struct):
    name: str
    datatype: str
    shape: list[int] = []


class _Metadata(Struct):
    versions: list[str] | None = None
    platform: str | None = None
    inputs: list[_Form] | None = None
    outputs: list[_Form] | None = None


class _Server(Struct):
    extensions: list[str] | None = None


class _Ready(Struct):
    ready: bool = True


class _Error(Struct):
    """The error of a server: `{"error": "..."}`, and FastAPI's `{"detail": "..."}`."""

    error: str | UnsetType = UNSET
    detail: str | UnsetType = UNSET


class OpenInferenceHttp:
    """A model on one server. `url` is the server's, `model` its name for the model."""

    def __init__(self, url: str, model: str, clock: Clock, limits: Limits | None = None) -> None:
        self._root = url.rstrip("/") + "/v2"
        self._model = f"{self._root}/models/{quote(model, safe='')}"
        self._clock = clock
        self._limits = limits or Limits()
        self._turnstile = Turnstile(self._limits)
        self._binary: bool | None = None  # unknown at first
        self._client: aiohttp.ClientSession | None = None
        self._closed = False

    async def infer(self, spec: InferSpec, call: EngineCall) -> Inferred:
        with self._turnstile.passing():
            binary = await self._has_binary(call)
            body, headers = await beside(content_bytes(spec), lambda: _request(spec, call, binary))
            url = f"{self._versioned(spec.version)}/infer"
            timeout = self._timeout(left_s(call, self._clock))
            status, json_length, answer = await self._exchange("POST", url, timeout, body, headers)
        if status != 200:
            raise _refusal(status, spec, answer)
        if (len(answer) if json_length is None else json_length) > self._limits.json_bytes:
            raise EngineError(f"The model's server answered with more than {self._limits.json_bytes} bytes of JSON.")
        return await beside(len(answer), lambda: checked(lambda: _answer(json_length, answer)))

    async def describe(self, version: str) -> ModelForm:
        status, _, answer = await self._exchange("GET", self._versioned(version), self._timeout(CHECK_S))
        if version and status in _CALLERS | {404}:
            raise NotFound("Model version not found.")
        if status != 200:
            raise EngineError(f"The model's server answered {status}.")
        metadata = _decode(answer, _Metadata)
        inputs, outputs = (tuple(map(_form, side or ())) for side in (metadata.inputs, metadata.outputs))
        return ModelForm(tuple(metadata.versions or ()), metadata.platform or "", inputs, outputs)

    async def check(self) -> None:
        status, _, answer = await self._exchange("GET", f"{self._model}/ready", self._timeout(CHECK_S))
        if status != 200 or (answer and not _decode(answer, _Ready).ready):
            raise EngineError(f"The model is not ready: its server answered {status}.")

    async def close(self) -> None:
        """Close the connections, and cancel running calls."""
        self._closed = True
        if self._client is not None:
            await self._client.close()

    async def _has_binary(self, call: EngineCall) -> bool:
        if self._binary is None:
            status, _, answer = await self._exchange("GET", self._root, self._timeout(left_s(call, self._clock)))
            if status != 200:
                raise EngineError(f"The model's server answered {status}.")
            self._binary = BINARY_EXTENSION in (_decode(answer, _Server).extensions or ())
        return self._binary

    def _versioned(self, version: str) -> str:
        return f"{self._model}/versions/{quote(version, safe='')}" if version else self._model

    def _timeout(self, total_s: float | None) -> aiohttp.ClientTimeout:
        return aiohttp.ClientTimeout(total=total_s, sock_connect=self._limits.connect_s)

    async def _exchange(
        self,
        method: str,
        url: str,
        timeout: aiohttp.ClientTimeout,
        body: bytes = b"",
        headers: dict[str, str] | None = None,
    ) -> tuple[int, int | None, bytes]:
        """Send a request. Returns the status, the length of the answer's JSON part if given, and the answer."""
        try:
            async with self._session().request(
                method,
                URL(url, encoded=True),
                data=body or None,
                headers=headers,
                timeout=timeout,
                allow_redirects=False,
            ) as response:
                good = response.status == 200
                answer = await _read(response, self._limits.answer_bytes if good else _MAX_ERROR_BYTES)
                if good and len(answer) > self._limits.answer_bytes:
                    raise EngineError(f"The model's server answered with more than {self._limits.answer_bytes} bytes.")
                length = response.headers.get(JSON_LENGTH, "")
                return response.status, int(length) if _LENGTH.fullmatch(length) else None, answer
        except aiohttp.ConnectionTimeoutError:
            raise EngineError("The model's server cannot be reached.") from None
        except TimeoutError:
            raise EngineTimeout("The model took too long.") from None
        except aiohttp.ClientConnectorError:
            raise EngineError("The model's server cannot be reached.") from None
        except (aiohttp.ClientError, OSError):
            raise EngineError("The connection to the model's server broke.") from None

    def _session(self) -> aiohttp.ClientSession:
        """Return the client session, made on first use because it needs a running loop."""
        if self._closed:
            raise EngineError("The connection to the model's server is closed.")
        if self._client is None:
            self._client = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=self._limits.idle_s, ttl_dns_cache=30),
                headers={"Accept-Encoding": "identity", "User-Agent": "antiphon"},
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                trust_env=False,
            )
        return self._client


# -- out ---------------------------------------------------------------------------------------------------------------


def _request(spec: InferSpec, call: EngineCall, binary: bool) -> tuple[bytes, dict[str, str]]:
    """Return the body and the headers; with tensors as bytes if the server has `binary`, or if JSON cannot hold
    them.
    """
    binary = binary or any(not _fits_json(tensor) for tensor in spec.inputs)
    inputs = []
    for tensor in spec.inputs:
        parameters: dict[str, Parameter] = dict(tensor.parameters)
        fields: dict[str, Any] = {"name": tensor.name, "shape": tensor.shape, "datatype": tensor.datatype}
        if binary:
            parameters[_BINARY_SIZE] = len(tensor.data)
        else:
            parts = (msgspec.json.encode(piece)[1:-1] for piece in tensors.json_pieces(tensor))
            fields["data"] = msgspec.Raw(b"[" + b",".join(parts) + b"]")
        inputs.append(fields | ({"parameters": parameters} if parameters else {}))
    parameters = dict(spec.parameters) | ({_BINARY: True} if binary else {})
    request: dict[str, Any] = {"id": call.id, "inputs": inputs}
    if parameters:
        request["parameters"] = parameters
    if spec.outputs:
        request["outputs"] = [
            {"name": each.name} | ({"parameters": dict(each.parameters)} if each.parameters else {})
            for each in spec.outputs
        ]
    text = msgspec.json.encode(request)
    if not binary:
        return text, {"Content-Type": "application/json"}
    body = b"".join([text, *(tensor.data for tensor in spec.inputs)])
    return body, {"Content-Type": "application/octet-stream", JSON_LENGTH: str(len(text))}


def _fits_json(tensor: Tensor) -> bool:
    if tensor.datatype in _ONLY_BYTES:
        return False
    if tensor.datatype in _FLOATS:
        return all(
            all(map(isfinite, piece)) for piece in tensors.json_pieces(tensor)
        )  # other numbers would become null
    if tensor.datatype == tensors.BYTES:
        try:
            tensors.to_json(tensor)
        except ValueError:
            return False
    return True


# -- in ----------------------------------------------------------------------------------------------------------------


def _answer(json_length: int | None, body: bytes) -> Inferred:
    """Return the result. Raises `ValueError` for an invalid tensor."""
    answer = _decode(body if json_length is None else body[:json_length], _Answer)
    at = len(body) if json_length is None else json_length
    outputs = []
    for each in answer.outputs:
        parameters = _parameters(each.parameters)
        size = parameters.pop(_BINARY_SIZE, None)
        if isinstance(size, int):
            if size < 0:
                raise ValueError("its size is negative")
            data = body[at : at + size]
            at += size
        elif each.data is not None:
            data = tensors.from_json(each.datatype, each.data)
        else:
            raise ValueError("it has no data")
        outputs.append(Tensor(each.name, each.datatype, tuple(each.shape), data, tuple(parameters.items())))
    return Inferred(tuple(outputs), answer.model_version or "", tuple(_parameters(answer.parameters).items()))


def _parameters(parameters: dict[str, Any] | None) -> dict[str, Parameter]:
    """Return the valid parameters: some servers write null, and lists, which mean nothing."""
    return {name: value for name, value in (parameters or {}).items() if isinstance(value, bool | int | float | str)}


def _form(form: _Form) -> TensorForm:
    return TensorForm(form.name, form.datatype, tuple(form.shape))


def _decode(body: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise EngineError("The model's server answered with something that is not the protocol's.") from None


def _refusal(status: int, spec: InferSpec, body: bytes) -> AntiphonError:
    if status in _FULL:
        return CapacityError("The model's server is full.", retry_after_s=1)
    if status == 404 and spec.version:
        return NotFound("Model version not found.")
    if status not in _CALLERS:
        return (EngineMisconfigured if 400 <= status < 500 else EngineError)(f"The model's server answered {status}.")
    try:
        error = msgspec.json.decode(body, type=_Error)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        error = _Error()
    return blames_caller(spec, error.error or error.detail or "")


async def _read(response: aiohttp.ClientResponse, most: int) -> bytes:
    """Return the body; of one longer than `most`, only a little more than that."""
    pieces: list[bytes] = []
    length = 0
    while length <= most and (piece := await response.content.readany()):
        pieces.append(piece)
        length += len(piece)
    return b"".join(pieces)
