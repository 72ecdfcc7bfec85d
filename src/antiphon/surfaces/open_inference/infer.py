"""`POST /v2/models/{name}[/versions/{version}]/infer`: returns a model's output tensors, as JSON or as bytes after it.

Every input is checked against its own shape first. Parameters are passed to the model, except those of the binary
extension: `binary_data_size` of an input, `binary_data` of an output, `binary_data_output` of the request. Shared
memory is refused: no caller may name memory of the server's machine.
"""

from collections.abc import Sequence
from math import prod
from typing import Any

import msgspec
from msgspec import UNSET
from msgspec.json import Decoder

from antiphon.core import tensors
from antiphon.core.endpoints import AnswerRequest
from antiphon.core.errors import AntiphonError, CallerError, EngineError, TooLarge, UnsupportedParameter
from antiphon.core.events import Failed, Inferred, LanguageOutput, Opened
from antiphon.core.specs import InferSpec, WantedTensor
from antiphon.core.tensors import Tensor
from antiphon.core.wire import NOTHING, Close, Head, Opening, Step, lifecycle
from antiphon.surfaces.open_inference import wire
from antiphon.surfaces.open_inference.addressing import address_of

MAX_BODY_BYTES = 64 << 20
MAX_JSON_BYTES = 4 << 20  # parsing much more would delay all other calls
MAX_JSON_ELEMENTS = 4 << 20  # of the outputs that are answered as JSON
MAX_TENSORS = 256
MAX_DIMENSIONS = 32
MAX_PARAMETERS = 1024  # of a request, its inputs and outputs together
MAX_ID_CHARS = 256
MAX_LENGTH_DIGITS = 19

_BINARY_SIZE, _BINARY, _ALL_BINARY = "binary_data_size", "binary_data", "binary_data_output"

_decoder = Decoder(wire.InferRequest)


class Infer(wire.Endpoint):
    """The endpoint."""

    max_body_bytes = MAX_BODY_BYTES

    def negotiate(self, opening: Opening, body: bytes) -> AnswerRequest:
        """Return the body as a spec. Raises a `CallerError`."""
        address = address_of(opening)
        text, rest = _parts(opening, body)
        request = _decoded(text)
        inputs = _inputs(request.inputs, rest)
        outputs = tuple(WantedTensor(each.name, _others(each.parameters, _BINARY)) for each in request.outputs)
        spec = InferSpec(address.model, inputs, outputs, address.version, _others(request.parameters, _ALL_BINARY))
        return AnswerRequest(spec, Inference(self, opening, request))


# -- in ----------------------------------------------------------------------------------------------------------------


def _parts(opening: Opening, body: bytes) -> tuple[bytes, bytes]:
    """Return the JSON, and the bytes after it."""
    length = opening.headers.get(wire.JSON_LENGTH, str(len(body)))
    # The number of digits first: Python reads no integers of thousands of them.
    if not length.isdecimal() or len(length) > MAX_LENGTH_DIGITS or int(length) > len(body):
        raise CallerError("'Inference-Header-Content-Length' is not the length of a part of the body.")
    at = int(length)
    if at > MAX_JSON_BYTES:
        raise TooLarge(f"The JSON has more than {MAX_JSON_BYTES} bytes; send large tensors as binary data.")
    return body[:at], body[at:]


def _decoded(text: bytes) -> wire.InferRequest:
    try:
        request = _decoder.decode(text)
    except msgspec.ValidationError as error:
        raise CallerError(f"The request is malformed: {error}.") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise CallerError("The body is not a valid JSON object.") from None
    if not request.inputs:
        raise CallerError("'inputs' is empty.")
    if len(request.inputs) > MAX_TENSORS or len(request.outputs) > MAX_TENSORS:
        raise CallerError(f"At most {MAX_TENSORS} inputs and {MAX_TENSORS} outputs are allowed.")
    own = [request.parameters, *(each.parameters for each in request.inputs)]
    own += [each.parameters for each in request.outputs]
    if sum(map(len, own)) > MAX_PARAMETERS:
        raise CallerError(f"At most {MAX_PARAMETERS} parameters in all are allowed.", param="parameters")
    for place, each in enumerate(request.inputs):
        if len(each.shape) > MAX_DIMENSIONS:  # or computing their product would take too long
            raise CallerError(
                f"Input {place}: at most {MAX_DIMENSIONS} dimensions are allowed.", param=f"inputs[{place}]"
            )
    if request.id is not UNSET and len(request.id) > MAX_ID_CHARS:
        raise CallerError(f"An id can have at most {MAX_ID_CHARS} characters.")
    for named in (request.inputs, request.outputs):
        names = [each.name for each in named]
        if len(set(names)) < len(names):
            raise CallerError("Two tensors have the same name.")
    return request


def _inputs(items: Sequence[wire.InputTensor], rest: bytes) -> tuple[Tensor, ...]:
    texts = sum(max(0, prod(each.shape)) for each in items if each.datatype == tensors.BYTES)
    if texts > tensors.MOST_TEXTS:
        raise CallerError(f"A request has at most {tensors.MOST_TEXTS} elements of BYTES.")
    inputs = []
    at = 0
    for place, each in enumerate(items):
        size = each.parameters.get(_BINARY_SIZE)
        try:
            if size is None:
                data = _packed(each)
            elif type(size) is not int or size < 0 or each.data is not UNSET:
                raise ValueError(f"'{_BINARY_SIZE}' says how many bytes come in place of 'data'")
            elif size > len(rest) - at:
                raise ValueError(f"'{_BINARY_SIZE}' is more than the {len(rest) - at} bytes that are left")
            else:
                data = rest[at : at + size]
                at += size
            tensor = Tensor(each.name, each.datatype, tuple(each.shape), data, _others(each.parameters, _BINARY_SIZE))
            tensors.check(tensor)
        except ValueError as error:
            raise CallerError(f"Input {place}: {error}.", param=f"inputs[{place}]") from None
        inputs.append(tensor)
    if at != len(rest):
        raise CallerError(f"After the JSON come {len(rest)} bytes, but the inputs name {at}.")
    return tuple(inputs)


def _packed(item: wire.InputTensor) -> bytes:
    """Return an input's data as bytes. Raises `ValueError`."""
    if item.data is UNSET:
        raise ValueError(f"there is neither 'data' nor '{_BINARY_SIZE}'")
    return tensors.from_json(item.datatype, item.data)


def _others(parameters: wire.Parameters, own: str) -> tensors.Parameters:
    """Return the parameters that are not the protocol's own."""
    for name in parameters:
        if name.startswith("shared_memory"):
            raise UnsupportedParameter("Shared memory is not supported.", param=name)
    return tuple((name, value) for name, value in parameters.items() if name != own)


# -- out ---------------------------------------------------------------------------------------------------------------


class Inference:
    """One call: renders the model's output."""

    def __init__(self, endpoint: Infer, opening: Opening, request: wire.InferRequest) -> None:
        self._endpoint = endpoint
        self._opening = opening
        self._id = request.id
        default = _flag(request.parameters, _ALL_BINARY, False)
        self._binary = {each.name: _flag(each.parameters, _BINARY, default) for each in request.outputs}
        self._default = default
        self._opened = Opened("")

    def emit(self, event: LanguageOutput, now_ns: int) -> Step:
        match event:
            case Opened():
                self._opened = event
            case Inferred():
                return self._answer(event)
            case Failed():
                return self._fail(event.error)
        return NOTHING

    def _fail(self, error: AntiphonError) -> Step:
        refusal = self._endpoint.refuse(self._opening, error)
        return Step(sends=(Head(refusal.status, refusal.headers), refusal.body), close=Close())

    def _answer(self, inferred: Inferred) -> Step:
        outputs = []
        rest = []
        as_json = (each for each in inferred.outputs if not self._binary.get(each.name, self._default))
        if sum(prod(each.shape) for each in as_json) > MAX_JSON_ELEMENTS:
            message = f"The outputs have more than {MAX_JSON_ELEMENTS} elements; request them as binary data."
            return self._fail(CallerError(message, param=_ALL_BINARY))
        for tensor in inferred.outputs:
            parameters = dict(tensor.parameters)
            parameters.pop(_BINARY_SIZE, None)  # some servers send it over other protocols too
            data: Any = UNSET
            if self._binary.get(tensor.name, self._default):
                parameters[_BINARY_SIZE] = len(tensor.data)
                rest.append(tensor.data)
            else:
                try:
                    data = wire.elements(tensors.json_pieces(tensor))
                except ValueError:
                    return self._fail(EngineError("An output is not valid UTF-8 text; request it as binary data."))
            shape = list(tensor.shape)
            outputs.append(wire.OutputTensor(tensor.name, tensor.datatype, shape, parameters or UNSET, data))
        response_parameters = dict(inferred.parameters) or UNSET
        text = wire.encode(
            wire.InferResponse(self._opened.model, outputs, inferred.version or UNSET, self._id, response_parameters)
        )
        headers = wire.headers(self._opening, wire.BINARY if rest else wire.JSON) + lifecycle(self._opened)
        if rest:
            headers += ((wire.JSON_LENGTH, str(len(text))),)
        return Step(sends=(Head(200, headers), b"".join([text, *rest])), close=Close())


def _flag(parameters: wire.Parameters, name: str, default: bool) -> bool:
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        raise CallerError(f"'{name}' is true or false.", param=name)
    return value
