"""Real servers of the Open Inference Protocol: KServe's Python runtime, Triton and MLServer, over HTTP and gRPC.

Each runs from `$ANTIPHON_ENGINES/NAME/bin/python`; see README.md. Their models double numbers and repeat texts.
"""

import asyncio
import os
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from real_engine import Running, SystemClock, free_port

from antiphon.core import tensors
from antiphon.core.errors import AntiphonError, CallerError, EngineError, NotFound
from antiphon.core.ports import EngineCall
from antiphon.core.specs import InferSpec, WantedTensor
from antiphon.core.tensors import Tensor
from antiphon.engines.open_inference import OpenInferenceGrpc, OpenInferenceHttp
from antiphon.models import Store
from serving import API_KEY, start

SERVERS = Path(__file__).parent / "servers"
START_S = 120
LIBRARIES = "import sysconfig; print(sysconfig.get_config_var('LIBDIR'))"

Client = OpenInferenceHttp | OpenInferenceGrpc


@dataclass(frozen=True, slots=True)
class Server:
    """`versions` says that its model has some, `strict` that it refuses what its model did not declare."""

    name: str
    ports: int
    versions: bool = False
    strict: bool = False


KSERVE, TRITON, MLSERVER = Server("kserve", 2), Server("pytriton", 3, versions=True, strict=True), Server("mlserver", 3)


@pytest.fixture(scope="module", params=[KSERVE, TRITON, MLSERVER], ids=lambda server: server.name)
def server(request: pytest.FixtureRequest) -> Server:
    asked: Server = request.param
    return asked


@pytest.fixture(scope="module")
def started(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, list[int]]]:
    folder = os.environ.get("ANTIPHON_ENGINES")
    if not folder:
        pytest.skip("ANTIPHON_ENGINES names no folder of engines (tests/engines/README.md)")
    python = Path(folder).absolute() / server.name / "bin" / "python"
    if not python.exists():
        pytest.skip(f"there is no {python} (tests/engines/README.md)")
    ports = [free_port() for _ in range(server.ports)]
    script = SERVERS / f"tensors_{server.name.removeprefix('py')}.py"
    # Triton's Python backend must run with the very interpreter whose standard library it finds.
    libraries = subprocess.run([python, "-c", LIBRARIES], capture_output=True, text=True, check=True).stdout.strip()
    log = tmp_path_factory.mktemp(server.name) / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [python, script, *map(str, ports)],
            env=os.environ | {"LD_LIBRARY_PATH": libraries},
            cwd=log.parent,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    running = Running(f"http://127.0.0.1:{ports[0]}", process, log)
    try:
        asyncio.run(ready(running, ports))
        yield running, ports
    finally:
        running.kill()


async def ready(running: Running, ports: list[int]) -> None:
    given_up = time.monotonic() + START_S
    waiting = [made(ports, kind, "double") for kind in ("http", "grpc")]
    try:
        while True:
            try:
                for client in waiting:
                    await client.check()
                return
            except AntiphonError:
                if running.process.poll() is not None or time.monotonic() > given_up:
                    pytest.fail(f"the server did not start:\n{running.log.read_text(errors='replace')[-4000:]}")
            await asyncio.sleep(0.5)
    finally:
        for client in waiting:
            await client.close()


def made(ports: list[int], kind: str, model: str) -> Client:
    if kind == "grpc":
        return OpenInferenceGrpc(f"http://127.0.0.1:{ports[1]}", model, SystemClock())
    return OpenInferenceHttp(f"http://127.0.0.1:{ports[0]}", model, SystemClock())


@pytest.fixture(params=["http", "grpc"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def client(started: tuple[Running, list[int]], kind: str) -> AsyncIterator[Client]:
    client = made(started[1], kind, "double")
    yield client
    await client.close()


NUMBERS = Tensor("in0", "FP32", (2, 2), tensors.from_json("FP32", [[1, 2.5], [-3, 1e30]]))
TEXTS = Tensor("in1", "BYTES", (2, 1), tensors.from_json("BYTES", ["Zürich", ""]))


async def infer(client: Client, *inputs: Tensor, version: str = "", wanted: str = "") -> list[Tensor]:
    outputs = (WantedTensor(wanted),) if wanted else ()
    spec = InferSpec("any", inputs, outputs, version)
    deadline_ns = time.monotonic_ns() + 30_000_000_000
    inferred = await client.infer(spec, EngineCall("00000000-0000-4000-8000-000000000001", deadline_ns))
    return sorted(inferred.outputs, key=lambda tensor: tensor.name)


async def test_tensors_come_back_as_the_model_made_them(client: Client) -> None:
    numbers, texts = await infer(client, NUMBERS, TEXTS)
    assert (numbers.name, numbers.datatype, numbers.shape) == ("out0", "FP32", (2, 2))
    assert tensors.to_json(numbers)[:3] == (2, 5, -6)
    assert (texts.name, texts.datatype) == ("out1", "BYTES")
    assert tensors.to_json(texts) == ["Zürich", ""]


async def test_large_tensors(client: Client) -> None:
    data = tensors.from_json("FP32", [float(n) for n in range(100_000)])
    numbers, _ = await infer(
        client, Tensor("in0", "FP32", (1, 100_000), data), Tensor("in1", "BYTES", (1, 1), TEXTS.data[:11])
    )
    assert tensors.to_json(numbers)[-1] == 199_998


async def test_some_outputs_only(client: Client, server: Server) -> None:
    if not server.strict:
        pytest.skip("its model ignores which outputs are wanted")
    (only,) = await infer(client, NUMBERS, TEXTS, wanted="out1")
    assert only.name == "out1"


async def test_other_datatypes(client: Client, server: Server) -> None:
    if server.strict:
        pytest.skip("its model takes FP32 and BYTES")
    for datatype, element in (("INT64", -5), ("UINT8", 7), ("INT32", 3), ("FP64", 0.5)):
        data = tensors.from_json(datatype, [element])
        (given,) = await infer(client, Tensor("in0", datatype, (1,), data))
        assert (given.datatype, list(tensors.to_json(given))) == (datatype, [element * 2])


async def test_what_json_cannot_hold(client: Client, server: Server) -> None:
    if server is MLSERVER:
        pytest.skip("it cannot answer with NaN")
    # KServe takes bytes that are no text over gRPC alone.
    text = b"\2\0\0\0\xff\xfe" if server is TRITON else b"\1\0\0\0x"
    not_a_number = b"\0\0\xc0\x7f"
    outputs = await infer(client, Tensor("in0", "FP32", (1, 1), not_a_number), Tensor("in1", "BYTES", (1, 1), text))
    assert [tensor.data for tensor in outputs] == [not_a_number, text]


async def test_a_model_describes_itself(client: Client, server: Server) -> None:
    form = await client.describe("")
    if server.versions:
        assert form.versions == ("1",)
        assert [(each.name, each.datatype, each.shape) for each in form.inputs] == [
            ("in0", "FP32", (-1, -1)),
            ("in1", "BYTES", (-1, -1)),
        ]


async def test_versions(client: Client, server: Server) -> None:
    if not server.versions:
        pytest.skip("its model has none")
    assert len(await infer(client, NUMBERS, TEXTS, version="1")) == 2
    with pytest.raises((NotFound, CallerError)):
        await infer(client, NUMBERS, TEXTS, version="7")
    with pytest.raises(NotFound):
        await client.describe("7")


async def test_the_callers_mistake_is_the_callers(client: Client, server: Server) -> None:
    if not server.strict:
        pytest.skip("its model takes anything")
    with pytest.raises(CallerError):
        await infer(client, NUMBERS)


async def test_a_model_there_is_not_is_no_callers_mistake(started: tuple[Running, list[int]], kind: str) -> None:
    other = made(started[1], kind, "other")
    with pytest.raises(EngineError):
        await other.check()
    await other.close()


def test_the_official_client_through_antiphon(
    started: tuple[Running, list[int]], kind: str, models: Store, tmp_path: Path
) -> None:
    """Triton's client on one side, each of the servers on the other; and what it was charged."""
    python = Path(os.environ["ANTIPHON_ENGINES"]).absolute() / "pytriton" / "bin" / "python"
    if not python.exists():
        pytest.skip(f"there is no {python}, which has the client (tests/engines/README.md)")
    port = started[1][1 if kind == "grpc" else 0]
    settings = f"""
[engines.tensors]
kind = "open-inference"
url = "http://127.0.0.1:{port}"
grpc = {str(kind == "grpc").lower()}
model = "double"

[models.double]
engines = ["tensors"]
"""
    process, url = start(tmp_path, models, settings)
    try:
        asked = [python, SERVERS / "triton_client.py", url.removeprefix("http://"), API_KEY]
        told = subprocess.run(asked, capture_output=True, text=True, timeout=60)
        assert told.stdout.strip() == "well", told.stderr
        bearer = {"authorization": f"Bearer {API_KEY}"}
        usage = httpx.get(f"{url}/admin/v1/usage", headers=bearer).json()
    finally:
        process.terminate()
        assert process.wait(20) == 0
    # Each way: 16 bytes of numbers and 15 of texts, in and out.
    assert {each["dimension"]: each["amount"] for each in usage["data"]} == {
        "inference.requests": 2,
        "inference.bytes": 2 * 2 * 31,
    }
