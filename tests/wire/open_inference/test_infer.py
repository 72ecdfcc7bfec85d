"""The Open Inference Protocol byte by byte: JSON, the binary extension, errors, and what is refused."""

import json
import struct

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.core import tensors
from antiphon.core.errors import AntiphonError, CallerError, CapacityError, NotFound, TooLarge, UnsupportedParameter
from antiphon.core.events import Completed, Failed, Inferred, Opened, TokenUsage
from antiphon.core.specs import InferSpec, WantedTensor
from antiphon.core.tensors import Tensor
from antiphon.core.wire import NOTHING, Close, Head, Opening, Step
from antiphon.surfaces.open_inference import infer, wire
from antiphon.surfaces.open_inference.infer import MAX_JSON_BYTES, Infer

REQUEST_ID = "00000000-0000-4000-8000-000000000001"
PATH = "/v2/models/double/infer"
ENDPOINT = Infer()
X = {"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2.5]}
FLOATS = struct.pack("<2f", 1, 2.5)


def opening(path=PATH, length=None, query=()):
    headers = {} if length is None else {"inference-header-content-length": str(length)}
    return Opening("POST", path, query, headers, (), REQUEST_ID)


def asks(*inputs, rest=b"", path=PATH, **more):
    text = json.dumps({"inputs": inputs or [X], **more}).encode()
    return ENDPOINT.negotiate(opening(path, len(text) if rest else None), text + rest)


def head(length=None):
    kind = "application/json" if length is None else "application/octet-stream"
    headers = (("content-type", kind), ("x-request-id", REQUEST_ID))
    return Head(200, headers if length is None else (*headers, ("inference-header-content-length", str(length))))


def answers(asked, *events):
    """What leaves; nothing does before the last event."""
    assert asked.surface.emit(Opened("double@1"), 0) == NOTHING
    *before, last = events
    for event in before:
        assert asked.surface.emit(event, 0) == NOTHING
    step = asked.surface.emit(last, 0)
    assert asked.surface.emit(Completed(TokenUsage(0, 0)), 0) == NOTHING
    return step


# -- what is asked -----------------------------------------------------------------------------------------------------


def test_json():
    asked = asks(X | {"parameters": {"scale": 2}}, id="7", parameters={"priority": 1}, outputs=[{"name": "y"}])
    assert asked.spec == InferSpec(
        "double",
        (Tensor("x", "FP32", (1, 2), FLOATS, (("scale", 2),)),),
        (WantedTensor("y"),),
        parameters=(("priority", 1),),
    )


def test_bytes_after_the_json():
    x = {"name": "x", "shape": [2], "datatype": "FP32", "parameters": {"binary_data_size": 8, "k": "v"}}
    t = {"name": "t", "shape": [1], "datatype": "BYTES", "parameters": {"binary_data_size": 6}}
    plain = {"name": "n", "shape": [1], "datatype": "INT8", "data": [-1]}
    asked = asks(x, plain, t, rest=FLOATS + b"\2\0\0\0\xff\xfe")
    assert asked.spec.inputs == (
        Tensor("x", "FP32", (2,), FLOATS, (("k", "v"),)),
        Tensor("n", "INT8", (1,), b"\xff"),
        Tensor("t", "BYTES", (1,), b"\2\0\0\0\xff\xfe"),
    )


@pytest.mark.parametrize(
    ("path", "model", "version"),
    [
        (PATH, "double", ""),
        ("/v2/models/double/versions/3/infer", "double", "3"),
        ("/v2/models/org/model/versions/v1.2/infer", "org/model", "v1.2"),
    ],
)
def test_the_path_names_the_model(path, model, version):
    spec = asks(path=path).spec
    assert (spec.model, spec.version) == (model, version)


@pytest.mark.parametrize(
    ("inputs", "why"),
    [
        ([], "'inputs' is empty"),
        ([X, X], "same name"),
        ([X | {"data": [1]}], "Input 0: 4 bytes do not fill"),
        ([X | {"data": [1, [2]]}], "Input 0: its data is nested unevenly"),
        ([X | {"data": [1, "2"]}], "Input 0: an element is no FP32"),
        ([X | {"datatype": "FP31"}], "Input 0: the datatype"),
        ([X | {"datatype": "BF16"}], "Input 0: the datatype"),
        ([X | {"shape": [-1, -2]}], "Input 0: a dimension is negative"),
        ([X | {"shape": [1] * 33}], "Input 0: at most 32 dimensions"),
        ([X | {"shape": [9**18] * 200_000}], "Input 0: at most 32 dimensions"),
        ([X | {"parameters": {str(n): 1 for n in range(1025)}}], "At most 1024 parameters"),
        ([{"name": "x", "shape": [0], "datatype": "FP32"}], "neither 'data' nor"),
        ([X | {"parameters": {"binary_data_size": 8}}], "in place of 'data'"),
        ([X | {"extra": 1}], "malformed"),
        ([{"name": "x"}], "malformed"),
        ([X | {"parameters": {"k": [1]}}], "malformed"),
        ([X | {"parameters": {"k": None}}], "malformed"),
    ],
)
def test_inputs_that_make_no_sense(inputs, why):
    with pytest.raises(CallerError, match=why):
        ENDPOINT.negotiate(opening(), json.dumps({"inputs": inputs}).encode())


@pytest.mark.parametrize("size", [-1, 1.5, True, "8", 9, 7])
def test_sizes_that_make_no_sense(size):
    x = {"name": "x", "shape": [2], "datatype": "FP32", "parameters": {"binary_data_size": size}}
    with pytest.raises(CallerError):
        asks(x, rest=FLOATS)


@pytest.mark.parametrize("length", ["-1", "x", "1000", "", "²"])
def test_lengths_that_make_no_sense(length):
    with pytest.raises(CallerError, match="Inference-Header-Content-Length"):
        ENDPOINT.negotiate(opening(length=length), json.dumps({"inputs": [X]}).encode())


def test_bytes_that_nobody_names():
    with pytest.raises(CallerError, match="come 3 bytes, but the inputs name 0"):
        asks(X, rest=b"abc")


def test_texts_are_bounded_together():
    data = bytes(4) * 60_000
    each = {"shape": [60_000], "datatype": "BYTES", "parameters": {"binary_data_size": len(data)}}
    assert len(asks(each | {"name": "a"}, rest=data).spec.inputs) == 1
    with pytest.raises(CallerError, match="at most 100000"):
        asks(each | {"name": "a"}, each | {"name": "b"}, rest=data * 2)


def test_the_json_is_bounded():
    with pytest.raises(TooLarge, match="binary data"):
        ENDPOINT.negotiate(opening(), b" " * (MAX_JSON_BYTES + 1))


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff", b"[" * 100_000])
def test_no_json(body):
    with pytest.raises(CallerError):
        ENDPOINT.negotiate(opening(), body)


@pytest.mark.parametrize(
    "fields",
    [
        {"parameters": {"shared_memory_region": "r"}},
        {"outputs": [{"name": "y", "parameters": {"shared_memory_region": "r"}}]},
        {"inputs": [X | {"parameters": {"shared_memory_offset": 0}}]},
    ],
)
def test_shared_memory_is_refused(fields):
    with pytest.raises(UnsupportedParameter):
        ENDPOINT.negotiate(opening(), json.dumps({"inputs": [X], **fields}).encode())


@pytest.mark.parametrize(
    "fields",
    [{"parameters": {"binary_data_output": 1}}, {"outputs": [{"name": "y", "parameters": {"binary_data": "x"}}]}],
)
def test_flags_are_true_or_false(fields):
    with pytest.raises(CallerError, match="true or false"):
        ENDPOINT.negotiate(opening(), json.dumps({"inputs": [X], **fields}).encode())


def test_parameters_in_the_url_and_paths_of_nothing():
    with pytest.raises(UnsupportedParameter):
        ENDPOINT.negotiate(opening(query=(("a", "b"),)), b"{}")
    with pytest.raises(NotFound):
        ENDPOINT.negotiate(opening("/v2/models"), b"{}")


# -- what is answered --------------------------------------------------------------------------------------------------


Y = Tensor("y", "FP32", (1, 2), FLOATS, (("note", "n"),))
T = Tensor("t", "BYTES", (1,), b"\2\0\0\0\xc3\xa9")


def test_an_answer_in_json():
    step = answers(asks(id="7"), Inferred((Y, T), "3", (("took", 1.5),)))
    assert step == Step(
        sends=(
            head(),
            b'{"model_name":"double@1","outputs":['
            b'{"name":"y","datatype":"FP32","shape":[1,2],"parameters":{"note":"n"},"data":[1.0,2.5]},'
            b'{"name":"t","datatype":"BYTES","shape":[1],"data":["\xc3\xa9"]}],'
            b'"model_version":"3","id":"7","parameters":{"took":1.5}}',
        ),
        close=Close(),
    )


def test_an_answer_in_bytes():
    text = (
        b'{"model_name":"double@1","outputs":['
        b'{"name":"y","datatype":"FP32","shape":[1,2],"parameters":{"note":"n","binary_data_size":8}},'
        b'{"name":"t","datatype":"BYTES","shape":[1],"parameters":{"binary_data_size":6}}]}'
    )
    step = answers(asks(parameters={"binary_data_output": True}), Inferred((Y, T)))
    assert step == Step(sends=(head(len(text)), text + Y.data + T.data), close=Close())


@pytest.mark.parametrize(("everything", "one", "binary"), [(False, True, {"t"}), (True, False, {"y"})])
def test_each_output_as_it_is_asked_for(everything, one, binary):
    outputs = [{"name": "y"}, {"name": "t", "parameters": {"binary_data": one}}]
    step = answers(asks(parameters={"binary_data_output": everything}, outputs=outputs), Inferred((Y, T)))
    length = int(dict(step.sends[0].headers)["inference-header-content-length"])
    told = json.loads(step.sends[1][:length])["outputs"]
    assert {each["name"] for each in told if "binary_data_size" in each.get("parameters", {})} == binary
    assert {each["name"] for each in told if "data" not in each} == binary


def test_a_model_that_will_go_says_so():
    surface = asks().surface
    surface.emit(Opened("double@1", deprecated_unix_s=1767225600, sunset_unix_s=1772323200), 0)
    headers = surface.emit(Inferred((Y,)), 0).sends[0].headers
    assert headers[2:] == (("deprecation", "@1767225600"), ("sunset", "Sun, 01 Mar 2026 00:00:00 GMT"))


def test_how_the_model_sent_it_is_not_passed_on():
    step = answers(asks(), Inferred((Tensor("y", "INT8", (1,), b"\1", (("binary_data_size", 1),)),)))
    assert step.sends[1].endswith(b'"outputs":[{"name":"y","datatype":"INT8","shape":[1],"data":[1]}]}')


def test_bytes_that_are_no_text_cannot_be_json():
    step = answers(asks(), Inferred((Tensor("t", "BYTES", (1,), b"\1\0\0\0\xff"),)))
    assert step.sends[0].status == 502
    assert json.loads(step.sends[1]) == {"error": "An output is not valid UTF-8 text; request it as binary data."}


def test_errors_have_the_protocols_shape():
    step = answers(asks(), Failed(CapacityError("Full.", retry_after_s=5)))
    assert step.sends == (
        Head(429, (("content-type", "application/json"), ("x-request-id", REQUEST_ID), ("retry-after", "5"))),
        b'{"error":"Full."}',
    )
    assert step.close == Close()


def test_the_credential():
    def held(value):
        found = ENDPOINT.credential(Opening("POST", PATH, headers={"authorization": value}))
        return found and found.secret

    assert held("Bearer k") == held("bearer  k ") == "k"
    assert held("Basic k") is held("Bearer ") is held("") is None


LEAVES = st.none() | st.booleans() | st.integers(-3, 300) | st.floats() | st.text(max_size=4)
VALUES = LEAVES | st.lists(LEAVES | st.lists(LEAVES, max_size=2), max_size=4)
TENSORS = st.dictionaries(st.sampled_from(["name", "shape", "datatype", "parameters", "data", "other"]), VALUES)


@given(
    one=TENSORS,
    datatype=st.sampled_from(["BOOL", "INT8", "UINT64", "FP16", "FP32", "BF16", "BYTES", "X"]),
    shape=st.lists(st.integers(0, 3), max_size=3),
    data=st.lists(LEAVES, max_size=4),
    fields=st.dictionaries(st.sampled_from(["id", "outputs", "parameters", "other"]), VALUES, max_size=2),
)
def test_any_object_is_honoured_or_refused(one, datatype, shape, data, fields):
    """And what is honoured comes back as it went in."""
    x = {"name": "x", "shape": shape, "datatype": datatype, "data": data, **one}
    try:
        asked = ENDPOINT.negotiate(opening(), json.dumps({"inputs": [x], **fields}).encode())
    except AntiphonError as error:
        response = ENDPOINT.refuse(opening(), error)
        assert 400 <= response.status < 500
        assert set(msgspec.json.decode(response.body)) == {"error"}
        return
    step = answers(asked, Inferred(asked.spec.inputs))
    (told,) = json.loads(step.sends[1])["outputs"]
    again = {"name": told["name"], "shape": told["shape"], "datatype": told["datatype"], "data": told["data"]}
    assert asks(again).spec.inputs[0].data == asked.spec.inputs[0].data


@pytest.mark.parametrize("length", ["9" * 5_000, "٣", "-1", "1.0", ""], ids=range(5))
def test_a_length_of_the_json_that_is_none_is_refused(length):
    with pytest.raises(CallerError):
        ENDPOINT.negotiate(opening(length=length), json.dumps({"inputs": [X]}).encode())


def test_sizes_of_thousands_of_digits_are_refused():
    sized = {"parameters": {"binary_data_size": 10**4_300 - 1}, "datatype": "UINT8"}
    inputs = {"name": "x", "shape": [1], **sized}, {"name": "y", "shape": [0], **sized}
    with pytest.raises(CallerError, match="bytes that are left"):
        asks(*inputs, rest=b"a")


def test_outputs_of_too_many_elements_must_be_requested_as_bytes(monkeypatch):
    monkeypatch.setattr(infer, "MAX_JSON_ELEMENTS", 4)
    outputs = tuple(Tensor(name, "FP32", (1, 2), FLOATS) for name in "yzw")
    refused = answers(asks(), Inferred(outputs, "1"))
    assert refused.sends[0].status == 400
    assert b"request them as binary data" in refused.sends[1]
    named = [{"name": "y", "parameters": {"binary_data": True}}]
    assert answers(asks(outputs=named), Inferred(outputs, "1")).sends[0].status == 200


@given(st.integers(0, 40), st.sampled_from(("FP32", "BF16", "INT16", "BYTES")))
def test_elements_are_the_same_piece_by_piece(count, datatype):
    elements = [str(n).encode() for n in range(count)] if datatype == "BYTES" else [*range(count)]
    data = tensors.from_elements("FP32" if datatype == "BF16" else datatype, elements)
    if datatype == "BF16":
        data = b"".join(data[at + 2 : at + 4] for at in range(0, len(data), 4))
    tensor = Tensor("y", datatype, (count,), data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tensors, "PIECE", 7)
        assert json.loads(bytes(wire.elements(tensors.json_pieces(tensor)))) == list(tensors.to_json(tensor))
