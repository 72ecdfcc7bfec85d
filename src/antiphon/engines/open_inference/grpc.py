"""A tensor model over gRPC, as an engine. Implements `core.ports.Inferrer`. Needs `grpcio` and `protobuf`.

Tensors are sent as bytes; a server may answer with bytes or with typed contents. Errors are classified by who caused
them: INVALID_ARGUMENT is the caller's, RESOURCE_EXHAUSTED means a full server or a message over a bound; errors that
show a wrong credential, address or model name are ours, all others the engine's. An unknown version is the caller's
error too.
"""

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

from antiphon.core import tensors
from antiphon.core.errors import (
    AntiphonError,
    CallerError,
    CapacityError,
    EngineError,
    EngineMisconfigured,
    EngineTimeout,
    NotFound,
    TooLarge,
)
from antiphon.core.events import Inferred
from antiphon.core.ports import Clock, EngineCall
from antiphon.core.specs import InferSpec
from antiphon.core.tensors import BYTES, ModelForm, Parameter, Tensor, TensorForm
from antiphon.engines.open_inference.limits import CHECK_S, Limits, Turnstile, beside, blames_caller, checked, left_s

SERVICE = "/inference.GRPCInferenceService/"
MAX_INT64 = 2**63 - 1
RECONNECT_MS = 2_000  # at most, between attempts; gRPC's own bound keeps a server that is back unused for two minutes

_OVER_BOUND, _HERE = "Received message larger than max", "CLIENT: "  # gRPC's words, and its mark for this end

# The field of `InferTensorContents` that holds a datatype's elements.
_CONTENTS = {
    "BOOL": "bool_contents",
    "UINT64": "uint64_contents",
    "INT64": "int64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    BYTES: "bytes_contents",
} | {f"{sign}INT{bits}": f"{sign.lower()}int_contents" for sign in ("", "U") for bits in (8, 16, 32)}


class OpenInferenceGrpc:
    """A model on one server. `url` is the server's, with TLS for `https://` and `grpcs://`; `model` is its name for the
    model.
    """

    def __init__(self, url: str, model: str, clock: Clock, limits: Limits | None = None) -> None:
        self._url = urlsplit(url)
        self._model = model
        self._clock = clock
        self._limits = limits or Limits()
        self._turnstile = Turnstile(self._limits)
        self._channel: Any = None
        self._closed = False

    async def infer(self, spec: InferSpec, call: EngineCall) -> Inferred:
        from antiphon.engines.open_inference import grpc_predict_v2_pb2 as pb

        with self._turnstile.passing():
            request = _request(spec, self._model, call)
            timeout_s = left_s(call, self._clock)
            answer = await self._call("ModelInfer", request, pb.ModelInferResponse, timeout_s, spec)
        return await beside(answer.ByteSize(), lambda: checked(lambda: _answer(answer)))

    async def describe(self, version: str) -> ModelForm:
        from antiphon.engines.open_inference import grpc_predict_v2_pb2 as pb

        request = pb.ModelMetadataRequest(name=self._model, version=version)
        spec = InferSpec(self._model, (), version=version)
        metadata = await self._call("ModelMetadata", request, pb.ModelMetadataResponse, CHECK_S, spec)
        inputs, outputs = (
            tuple(TensorForm(each.name, each.datatype, tuple(each.shape)) for each in side)
            for side in (metadata.inputs, metadata.outputs)
        )
        return ModelForm(tuple(metadata.versions), metadata.platform, inputs, outputs)

    async def check(self) -> None:
        from antiphon.engines.open_inference import grpc_predict_v2_pb2 as pb

        request = pb.ModelReadyRequest(name=self._model)
        answer = await self._call("ModelReady", request, pb.ModelReadyResponse, CHECK_S, InferSpec(self._model, ()))
        if not answer.ready:
            raise EngineError("The model is not ready.")

    async def close(self) -> None:
        """Close the connection, and cancel running calls."""
        self._closed = True
        if self._channel is not None:
            await self._channel.close()

    async def _call(self, method: str, request: Any, kind: Any, timeout_s: float | None, spec: InferSpec) -> Any:
        import grpc

        invoke = self._connected().unary_unary(
            SERVICE + method, request_serializer=type(request).SerializeToString, response_deserializer=kind.FromString
        )
        closed = EngineError("The connection to the model's server is closed.")
        try:
            answer = await invoke(request, timeout=timeout_s)
        except grpc.aio.AioRpcError as error:
            raise _blamed(error.code().name, error.details() or "", spec) from None
        except grpc.aio.UsageError:
            raise closed from None
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            raise closed from None  # gRPC says so of a call whose channel was closed
        if answer is None:  # it could not be decoded
            raise EngineError("The model's server answered with something that is not the protocol's.")
        return answer

    def _connected(self) -> Any:
        """Return the channel, made on first use because it needs a running loop."""
        if self._closed:
            raise EngineError("The connection to the model's server is closed.")
        if self._channel is None:
            import grpc

            options = [
                ("grpc.max_receive_message_length", self._limits.answer_bytes),
                ("grpc.max_send_message_length", -1),
                ("grpc.enable_http_proxy", 0),
                ("grpc.max_reconnect_backoff_ms", RECONNECT_MS),
            ]
            where = self._url.netloc
            if self._url.scheme in ("https", "grpcs"):
                self._channel = grpc.aio.secure_channel(where, grpc.ssl_channel_credentials(), options)
            else:
                self._channel = grpc.aio.insecure_channel(where, options)
        return self._channel


# -- out ---------------------------------------------------------------------------------------------------------------


def _request(spec: InferSpec, model: str, call: EngineCall) -> Any:
    from antiphon.engines.open_inference import grpc_predict_v2_pb2 as pb

    try:
        request = pb.ModelInferRequest(model_name=model, model_version=spec.version, id=call.id)
        _set(request.parameters, spec.parameters)
        for tensor in spec.inputs:
            input_ = request.inputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
            _set(input_.parameters, tensor.parameters)
            request.raw_input_contents.append(tensor.data)
        for wanted in spec.outputs:
            _set(request.outputs.add(name=wanted.name).parameters, wanted.parameters)
    except (ValueError, TypeError):  # such as a text with half a surrogate, or a dimension of more than 64 bits
        raise CallerError("The request has a value that the protocol cannot represent.") from None
    return request


def _set(into: Any, parameters: Iterable[tuple[str, Parameter]]) -> None:
    """Set parameters. Raises `CallerError` for an integer that the protocol cannot hold."""
    for name, value in parameters:
        match value:
            case bool():
                into[name].bool_param = value
            case int() if -MAX_INT64 - 1 <= value <= MAX_INT64:
                into[name].int64_param = value
            case int() if MAX_INT64 < value < 2**64:
                into[name].uint64_param = value
            case float():
                into[name].double_param = value
            case str():
                into[name].string_param = value
            case _:
                raise CallerError("A parameter is an integer of more than 64 bits.")


# -- in ----------------------------------------------------------------------------------------------------------------


def _answer(answer: Any) -> Inferred:
    """Return the result. Raises `ValueError` for an invalid tensor."""
    raw = list(answer.raw_output_contents)
    if raw and len(raw) != len(answer.outputs):
        raise ValueError("there are not as many contents as tensors")
    outputs = []
    for place, each in enumerate(answer.outputs):
        data = raw[place] if raw else _packed(each.datatype, each.contents)
        parameters = _parameters(each.parameters)
        outputs.append(Tensor(each.name, each.datatype, tuple(each.shape), data, parameters))
    return Inferred(tuple(outputs), answer.model_version, _parameters(answer.parameters))


def _packed(datatype: str, contents: Any) -> bytes:
    if datatype not in _CONTENTS:
        raise ValueError(f"its datatype comes as bytes, or is none of {', '.join(_CONTENTS)}")
    return tensors.from_elements(datatype, getattr(contents, _CONTENTS[datatype]))


def _parameters(parameters: Mapping[str, Any]) -> tensors.Parameters:
    chosen = ((name, each, each.WhichOneof("parameter_choice")) for name, each in parameters.items())
    return tuple((name, getattr(each, which)) for name, each, which in chosen if which)


def _blamed(code: str, message: str, spec: InferSpec) -> AntiphonError:
    match code:
        case "INVALID_ARGUMENT":
            return blames_caller(spec, message)
        case "NOT_FOUND" if spec.version:
            return NotFound("Model version not found.")
        case "RESOURCE_EXHAUSTED" if _HERE + _OVER_BOUND in message:
            return EngineError("The model's server answered with too many bytes.")
        case "RESOURCE_EXHAUSTED" if _OVER_BOUND in message:
            return TooLarge("The request is larger than the model's server accepts.")
        case "RESOURCE_EXHAUSTED":
            return CapacityError("The model's server is full.", retry_after_s=1)
        case "DEADLINE_EXCEEDED":
            return EngineTimeout("The model took too long.")
        case "UNAVAILABLE":
            return EngineError("The model's server cannot be reached.")
        case (
            "UNAUTHENTICATED" | "PERMISSION_DENIED" | "NOT_FOUND" | "UNIMPLEMENTED"
        ):  # the address and the name are ours
            return EngineMisconfigured(f"The model's server answered {code}.")
    return EngineError(f"The model's server answered {code}.")
