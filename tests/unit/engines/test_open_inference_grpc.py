"""The client over gRPC, against a small server on loopback."""

import asyncio

import pytest

from antiphon.core import errors, tensors
from antiphon.core.ports import EngineCall
from antiphon.core.specs import InferSpec, WantedTensor
from antiphon.core.tensors import ModelForm, Tensor, TensorForm
from antiphon.engines.open_inference import Limits, OpenInferenceGrpc
from antiphon.testing import FakeClock

grpc = pytest.importorskip("grpc")
pb = pytest.importorskip("antiphon.engines.open_inference.grpc_predict_v2_pb2")

NUMBERS = Tensor("x", "FP32", (1, 2), tensors.from_json("FP32", [1, 2.5]), (("scale", 3),))
TEXTS = Tensor("t", "BYTES", (2,), tensors.from_json("BYTES", ["é", ""]))
CALL = EngineCall("c0ffee")


class Server:
    """Keeps what it was asked, and answers `answer`, or refuses with `error`."""

    def __init__(self):
        self.answer = pb.ModelInferResponse()
        self.error = None
        self.asked = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.left = asyncio.Event()

    async def infer(self, request, context):
        return await self._give(request, context, self.answer)

    async def metadata(self, request, context):
        form = pb.ModelMetadataResponse.TensorMetadata(name="x", datatype="FP32", shape=[-1])
        return await self._give(request, context, pb.ModelMetadataResponse(versions=["1"], platform="p", inputs=[form]))

    async def ready(self, request, context):
        return await self._give(request, context, pb.ModelReadyResponse(ready=request.name == "m"))

    async def _give(self, request, context, answer):
        self.asked.append(request)
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.left.set()
            raise
        if self.error:
            await context.abort(*self.error)
        return answer


def handler(method, kind):
    return grpc.unary_unary_rpc_method_handler(
        method, request_deserializer=kind.FromString, response_serializer=lambda answer: answer.SerializeToString()
    )


@pytest.fixture
async def server():
    server = Server()
    methods = {
        "ModelInfer": handler(server.infer, pb.ModelInferRequest),
        "ModelMetadata": handler(server.metadata, pb.ModelMetadataRequest),
        "ModelReady": handler(server.ready, pb.ModelReadyRequest),
    }
    running = grpc.aio.server()
    running.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("inference.GRPCInferenceService", methods)])
    server.port = running.add_insecure_port("127.0.0.1:0")
    await running.start()
    yield server
    server.gate.set()
    await running.stop(0)


def made(server, model="m", **limits):
    return OpenInferenceGrpc(f"http://127.0.0.1:{server.port}", model, FakeClock(), Limits(**limits))


@pytest.fixture
async def client(server):
    client = made(server, outstanding=2)
    yield client
    await client.close()


def asks(*inputs, **more):
    return InferSpec("public", inputs or (NUMBERS,), **more)


def output(tensor, **contents):
    return pb.ModelInferResponse.InferOutputTensor(
        name=tensor.name, datatype=tensor.datatype, shape=tensor.shape, contents=pb.InferTensorContents(**contents)
    )


async def test_what_is_asked(server, client):
    parameters = (("b", True), ("i", -1), ("u", 2**63), ("d", 0.5), ("s", "é"))
    await client.infer(asks(NUMBERS, TEXTS, version="7", parameters=parameters, outputs=(WantedTensor("y"),)), CALL)
    (asked,) = server.asked
    assert (asked.model_name, asked.model_version, asked.id) == ("m", "7", "c0ffee")
    assert {
        name: getattr(each, each.WhichOneof("parameter_choice")) for name, each in asked.parameters.items()
    } == dict(parameters)
    assert [(each.name, each.datatype, list(each.shape)) for each in asked.inputs] == [
        ("x", "FP32", [1, 2]),
        ("t", "BYTES", [2]),
    ]
    assert asked.inputs[0].parameters["scale"].int64_param == 3
    assert list(asked.raw_input_contents) == [NUMBERS.data, TEXTS.data]
    assert [each.name for each in asked.outputs] == ["y"]


async def test_an_answer_in_bytes(server, client):
    server.answer = pb.ModelInferResponse(
        model_version="7", outputs=[output(NUMBERS), output(TEXTS)], raw_output_contents=[NUMBERS.data, TEXTS.data]
    )
    server.answer.parameters["took"].double_param = 1.5
    inferred = await client.infer(asks(), CALL)
    assert [each.data for each in inferred.outputs] == [NUMBERS.data, TEXTS.data]
    assert (inferred.version, inferred.parameters) == ("7", (("took", 1.5),))


@pytest.mark.parametrize(
    ("datatype", "field", "elements"),
    [
        ("BOOL", "bool_contents", [True, False]),
        ("INT8", "int_contents", [-128, 127]),
        ("INT16", "int_contents", [-(2**15), 1]),
        ("INT32", "int_contents", [-(2**31), 1]),
        ("INT64", "int64_contents", [-(2**63), 1]),
        ("UINT8", "uint_contents", [255, 0]),
        ("UINT16", "uint_contents", [65535, 0]),
        ("UINT32", "uint_contents", [2**32 - 1, 0]),
        ("UINT64", "uint64_contents", [2**64 - 1, 0]),
        ("FP32", "fp32_contents", [0.5, -1.0]),
        ("FP64", "fp64_contents", [0.1, -1.0]),
        ("BYTES", "bytes_contents", [b"\xff", b""]),
    ],
)
async def test_an_answer_in_typed_contents(server, client, datatype, field, elements):
    expected = Tensor("y", datatype, (2,), tensors.from_elements(datatype, elements))
    server.answer = pb.ModelInferResponse(outputs=[output(expected, **{field: elements})])
    assert (await client.infer(asks(), CALL)).outputs == (expected,)


@pytest.mark.parametrize(
    "answer",
    [
        pb.ModelInferResponse(outputs=[output(NUMBERS)], raw_output_contents=[b"", b""]),
        pb.ModelInferResponse(outputs=[output(NUMBERS)], raw_output_contents=[b"1"]),
        pb.ModelInferResponse(outputs=[output(NUMBERS)]),
        pb.ModelInferResponse(outputs=[output(Tensor("y", "INT8", (1,), b""), int_contents=[300])]),
        pb.ModelInferResponse(outputs=[output(Tensor("y", "BF16", (1,), b""))]),
    ],
)
async def test_an_answer_that_is_none_is_the_engines_fault(server, client, answer):
    server.answer = answer
    with pytest.raises(errors.EngineError, match="malformed tensor"):
        await client.infer(asks(), CALL)


@pytest.mark.parametrize(
    ("code", "spec", "blamed", "message"),
    [
        ("INVALID_ARGUMENT", asks(), errors.CallerError, "shape of x"),
        ("INVALID_ARGUMENT", asks(TEXTS), errors.CallerError, "refused the request"),
        ("RESOURCE_EXHAUSTED", asks(), errors.CapacityError, "full"),
        ("DEADLINE_EXCEEDED", asks(), errors.EngineTimeout, "too long"),
        ("UNAVAILABLE", asks(), errors.EngineError, "cannot be reached"),
        ("NOT_FOUND", asks(), errors.EngineMisconfigured, "NOT_FOUND"),
        ("NOT_FOUND", asks(version="7"), errors.NotFound, "version not found"),
        ("INTERNAL", asks(), errors.EngineError, "INTERNAL"),
    ],
)
async def test_errors_are_told_apart_by_blame(server, client, code, spec, blamed, message):
    server.error = grpc.StatusCode[code], "shape of x " + "!" * 1000
    with pytest.raises(errors.AntiphonError, match=message) as refused:
        await client.infer(spec, CALL)
    assert type(refused.value) is blamed
    assert len(refused.value.message) <= 300


async def test_a_parameter_the_protocol_cannot_hold(client):
    with pytest.raises(errors.CallerError):
        await client.infer(asks(parameters=(("i", 2**64),)), CALL)


async def test_calls_are_bounded_and_leaving_ends_them(server, client):
    server.gate.clear()
    calls = [asyncio.create_task(client.infer(asks(), CALL)) for _ in range(2)]
    while len(server.asked) < 2:  # noqa: ASYNC110
        await asyncio.sleep(0.001)
    with pytest.raises(errors.CapacityError):
        await client.infer(asks(), CALL)
    for call in calls:
        call.cancel()
    await asyncio.wait(calls)
    async with asyncio.timeout(60):
        await server.left.wait()
    server.gate.set()
    await client.infer(asks(), CALL)


async def test_a_deadline_travels(server, client):
    server.gate.clear()
    with pytest.raises(errors.EngineTimeout):
        await client.infer(asks(), EngineCall("c", deadline_ns=50_000_000))


async def test_an_answer_over_the_bound(server):
    client = made(server, answer_bytes=100)
    server.answer = pb.ModelInferResponse(model_version="7" * 1000)
    with pytest.raises(errors.EngineError, match="too many bytes"):
        await client.infer(asks(), CALL)
    await client.close()


async def test_an_input_over_the_servers_bound(client):
    """gRPC's own is 4 MiB, and some servers leave it so; their words are gRPC's."""
    with pytest.raises(errors.TooLarge):
        await client.infer(asks(Tensor("x", "UINT8", (5_000_000,), bytes(5_000_000))), CALL)


async def test_readiness_and_description(server, client):
    await client.check()
    other = made(server, "other")
    with pytest.raises(errors.EngineError, match="not ready"):
        await other.check()
    await other.close()
    assert await client.describe("1") == ModelForm(("1",), "p", (TensorForm("x", "FP32", (-1,)),), ())
    server.error = grpc.StatusCode.NOT_FOUND, ""
    with pytest.raises(errors.NotFound):
        await client.describe("7")


async def test_a_server_that_is_not_there_and_a_client_that_is_closed():
    client = OpenInferenceGrpc("http://127.0.0.1:1", "m", FakeClock())
    with pytest.raises(errors.EngineError, match="cannot be reached"):
        await client.check()
    await client.close()
    with pytest.raises(errors.EngineError, match="closed"):
        await client.check()


async def test_bytes_that_are_no_answer_are_the_engines_fault(client, monkeypatch):
    monkeypatch.setattr(pb.ModelInferResponse, "SerializeToString", lambda _: b"\xff\xff")
    with pytest.raises(errors.EngineError):
        await client.infer(asks(), CALL)


async def test_closing_fails_running_calls(server):
    client = made(server)
    server.gate.clear()
    call = asyncio.create_task(client.infer(asks(), CALL))
    while not server.asked:  # noqa: ASYNC110
        await asyncio.sleep(0.001)
    await client.close()
    with pytest.raises(errors.EngineError):
        await call
