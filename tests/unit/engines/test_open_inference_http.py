"""The client over HTTP, against a small server on loopback."""

import asyncio
import json
import threading

import pytest
from aiohttp import web

from antiphon.core import errors, tensors
from antiphon.core.ports import EngineCall
from antiphon.core.specs import InferSpec, WantedTensor
from antiphon.core.tensors import ModelForm, Tensor, TensorForm
from antiphon.engines.open_inference import Limits, OpenInferenceHttp

LENGTH = "Inference-Header-Content-Length"
NUMBERS = Tensor("x", "FP32", (1, 2), tensors.from_json("FP32", [1, 2.5]), (("scale", 3),))
CALL = EngineCall("c0ffee")


class Server:
    """Keeps what it was asked; answers what `answers` says for a path, and echoes its inputs otherwise."""

    def __init__(self):
        self.extensions = ["binary_tensor_data"]
        self.answers = {}
        self.asked = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.left = asyncio.Event()

    async def handle(self, request):
        body = await request.read()
        at = int(request.headers.get(LENGTH, len(body)))
        text = json.loads(body[:at]) if body else None
        self.asked.append((request.method, request.raw_path, text, body[at:]))
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.left.set()
            raise
        if request.path in self.answers:
            status, answer, headers = self.answers[request.path]
            return web.Response(status=status, body=answer, headers=headers)
        if request.path == "/v2":
            return web.json_response({"name": "s", "version": "1", "extensions": self.extensions})
        outputs, rest = [], b""
        for each in json.loads(body[:at])["inputs"]:
            size = each.get("parameters", {}).pop("binary_data_size", None)
            made = each | {"name": "out", "parameters": {"note": "n", "list": [1]}}
            if size is not None:
                rest += body[at + len(rest) :][:size]
                made["parameters"]["binary_data_size"] = size
            outputs.append(made)
        answer = {"model_name": "m", "model_version": "7", "parameters": {"took": 1.5}, "outputs": outputs}
        told = json.dumps(answer).encode()
        return web.Response(body=told + rest, headers={LENGTH: str(len(told))} if rest else {})


@pytest.fixture
async def server():
    server = Server()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.handle)
    runner = web.AppRunner(app, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.port = site._server.sockets[0].getsockname()[1]
    yield server
    server.gate.set()
    await runner.cleanup()


@pytest.fixture
async def client(server, clock):
    limits = Limits(outstanding=2, answer_bytes=2000)
    client = OpenInferenceHttp(f"http://127.0.0.1:{server.port}/", "m/1", clock, limits)
    yield client
    await client.close()


def asks(*inputs, **more):
    return InferSpec("public", inputs or (NUMBERS,), **more)


async def test_tensors_travel_as_bytes_where_the_server_has_the_extension(server, client):
    inferred = await client.infer(asks(parameters=(("p", True),), outputs=(WantedTensor("out", (("k", 2),)),)), CALL)
    assert inferred.outputs == (Tensor("out", "FP32", (1, 2), NUMBERS.data, (("note", "n"),)),)
    assert (inferred.version, inferred.parameters) == ("7", (("took", 1.5),))
    (_, (method, path, asked, rest)) = server.asked
    assert (method, path) == ("POST", "/v2/models/m%2F1/infer")
    assert asked == {
        "id": "c0ffee",
        "parameters": {"p": True, "binary_data_output": True},
        "inputs": [
            {"name": "x", "datatype": "FP32", "shape": [1, 2], "parameters": {"scale": 3, "binary_data_size": 8}}
        ],
        "outputs": [{"name": "out", "parameters": {"k": 2}}],
    }
    assert rest == NUMBERS.data


@pytest.mark.parametrize("extensions", [[], ["binary_tensor_data"]])
async def test_large_tensors_are_converted_beside_the_event_loop(server, client, monkeypatch, extensions):
    threads = []
    server.extensions = extensions
    client._limits = Limits()

    def seen(function):
        return lambda *given: threads.append(threading.current_thread()) or function(*given)

    for name in ("json_pieces", "from_json", "check"):
        monkeypatch.setattr(tensors, name, seen(getattr(tensors, name)))
    many = [n / 4 for n in range(50_000)]
    large = Tensor("x", "FP32", (50_000,), tensors.from_elements("FP32", many))
    inferred = await client.infer(asks(large), CALL)
    assert inferred.outputs[0].data == large.data
    assert threads
    assert threading.main_thread() not in threads


async def test_the_json_of_an_answer_is_bounded_more_closely_than_its_bytes(server, client):
    client._limits = Limits(json_bytes=300)
    assert (await client.infer(asks(Tensor("x", "INT8", (1000,), bytes(1000))), CALL)).outputs[0].data == bytes(1000)
    server.extensions, client._binary = [], None
    with pytest.raises(errors.EngineError, match="more than 300 bytes of JSON"):
        await client.infer(asks(Tensor("x", "INT8", (1000,), bytes(1000))), CALL)


async def test_tensors_travel_as_json_where_it_has_not(server, client):
    server.extensions = []
    inferred = await client.infer(asks(), CALL)
    assert inferred.outputs[0].data == NUMBERS.data
    assert server.asked[1][2:] == (
        {
            "id": "c0ffee",
            "inputs": [
                {"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1, 2.5], "parameters": {"scale": 3}}
            ],
        },
        b"",
    )
    await client.infer(asks(), CALL)
    assert [path for _, path, _, _ in server.asked].count("/v2") == 1


@pytest.mark.parametrize(
    "tensor",
    [
        Tensor("h", "FP16", (1,), b"\0\x3c"),
        Tensor("b", "BF16", (1,), b"\x80\x3f"),
        Tensor("t", "BYTES", (1,), b"\1\0\0\0\xff"),
        Tensor("n", "FP32", (1,), b"\0\0\xc0\x7f"),
        Tensor("i", "FP64", (1,), b"\0\0\0\0\0\0\xf0\xff"),
    ],
    ids=lambda tensor: tensor.name,
)
async def test_what_json_cannot_hold_travels_as_bytes_anyhow(server, client, tensor):
    server.extensions = []
    inferred = await client.infer(asks(tensor), CALL)
    assert inferred.outputs[0].data == tensor.data
    assert server.asked[1][3] == tensor.data


async def test_a_version_is_asked_for(server, client):
    await client.infer(asks(version="a b"), CALL)
    assert server.asked[1][1] == "/v2/models/m%2F1/versions/a%20b/infer"


@pytest.mark.parametrize(
    ("status", "spec", "blamed", "message"),
    [
        (400, asks(), errors.CallerError, "shape of x"),
        (422, asks(), errors.CallerError, "shape of x"),
        (400, asks(Tensor("t", "BYTES", (0,), b"")), errors.CallerError, "refused the request"),
        (429, asks(), errors.CapacityError, "full"),
        (503, asks(), errors.CapacityError, "full"),
        (404, asks(), errors.EngineMisconfigured, "answered 404"),
        (404, asks(version="7"), errors.NotFound, "version not found"),
        (401, asks(), errors.EngineMisconfigured, "answered 401"),
        (500, asks(), errors.EngineError, "answered 500"),
        (302, asks(), errors.EngineError, "answered 302"),
    ],
)
async def test_errors_are_told_apart_by_blame(server, client, status, spec, blamed, message):
    path = "/v2/models/m/1/versions/7/infer" if spec.version else "/v2/models/m/1/infer"
    server.answers[path] = (status, json.dumps({"error": "shape of x " + "!" * 90_000}), {"Location": "/v2"})
    with pytest.raises(errors.AntiphonError, match=message) as refused:
        await client.infer(spec, CALL)
    assert type(refused.value) is blamed
    assert len(refused.value.message) <= 300


@pytest.mark.parametrize(
    "answer",
    [
        b"{",
        b"[]",
        b'{"outputs":[{"name":"y","datatype":"FP32","shape":[2],"data":[1]}]}',
        b'{"outputs":[{"name":"y","datatype":"FP32","shape":[1],"data":[null]}]}',
        b'{"outputs":[{"name":"y","datatype":"FP32","shape":[1]}]}',
        b'{"outputs":[{"name":"y","datatype":"FP32","shape":[1],"parameters":{"binary_data_size":4}}]}',
        b'{"outputs":[{"name":"y","datatype":"FP32","shape":[0],"parameters":{"binary_data_size":-4}}]}',
        b'{"outputs":[]}' + b" " * 2000,
    ],
)
@pytest.mark.parametrize("length", [None, "9" * 5000])
async def test_an_answer_that_is_none_is_the_engines_fault(server, client, answer, length):
    server.answers["/v2/models/m/1/infer"] = (200, answer, {} if length is None else {LENGTH: length})
    with pytest.raises(errors.EngineError):
        await client.infer(asks(), CALL)


async def test_calls_are_bounded_and_leaving_ends_them(server, client):
    await client.infer(asks(), CALL)
    server.gate.clear()
    calls = [asyncio.create_task(client.infer(asks(), CALL)) for _ in range(2)]
    while len(server.asked) < 4:  # noqa: ASYNC110
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


async def test_a_deadline_that_has_passed_is_said(server, client, clock):
    clock.advance_ms(2)
    with pytest.raises(errors.EngineTimeout):
        await client.infer(asks(), EngineCall("c", deadline_ns=1_000_000))
    assert not server.asked


async def test_the_question_of_what_a_server_has_counts_towards_the_deadline(server, client, clock):
    server.gate.clear()
    call = asyncio.create_task(client.infer(asks(), EngineCall("c", deadline_ns=60_000_000_000)))
    while not server.asked:  # noqa: ASYNC110
        await asyncio.sleep(0.001)
    clock.advance_ms(60_000)
    server.gate.set()
    with pytest.raises(errors.EngineTimeout):
        await call
    assert [path for _, path, _, _ in server.asked] == ["/v2"]


async def test_a_deadline_travels(server, client):
    server.gate.clear()
    with pytest.raises(errors.EngineTimeout):
        await client.infer(asks(), EngineCall("c", deadline_ns=50_000_000))


async def test_a_server_that_is_not_there(clock):
    client = OpenInferenceHttp("http://127.0.0.1:1", "m", clock)
    for call in (client.infer(asks(), CALL), client.check(), client.describe("")):
        with pytest.raises(errors.EngineError, match="cannot be reached"):
            await call
    await client.close()
    with pytest.raises(errors.EngineError, match="closed"):
        await client.check()


async def test_readiness(server, client):
    for status, answer, well in ((200, b"", True), (200, b'{"ready":true}', True), (200, b'{"ready":false}', False)):
        server.answers["/v2/models/m/1/ready"] = (status, answer, {})
        if well:
            await client.check()
        else:
            with pytest.raises(errors.EngineError):
                await client.check()
    server.answers["/v2/models/m/1/ready"] = (400, b"", {})
    with pytest.raises(errors.EngineError):
        await client.check()


async def test_a_description(server, client):
    told = {
        "name": "m",
        "versions": ["1"],
        "platform": "p",
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1]}],
    }
    server.answers["/v2/models/m/1"] = (200, json.dumps(told | {"outputs": None}), {})
    assert await client.describe("") == ModelForm(("1",), "p", (TensorForm("x", "FP32", (-1,)),), ())
    server.answers["/v2/models/m/1/versions/7"] = (400, b"", {})
    with pytest.raises(errors.NotFound):
        await client.describe("7")
