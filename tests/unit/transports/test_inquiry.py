"""The Open Inference Protocol through its routes, on a session's fakes."""

import asyncio

import httpx
import pytest
from starlette.applications import Starlette

from antiphon.core.errors import EngineError, LedgerUnavailable, NotFound
from antiphon.core.usage import Dimension
from antiphon.routes import ROUTES
from antiphon.session import lookups
from antiphon.transports import table
from antiphon.transports.uploads import Uploads

X = {"name": "x", "shape": [2], "datatype": "UINT8", "data": [1, 2]}
KEY = {"authorization": "Bearer secret"}


@pytest.fixture
async def client(house):
    uploads = Uploads(each_bytes=100_000, all_bytes=1_000_000)
    rows = [row for row in ROUTES if row.surface == "open-inference"]
    routes = table.routes(rows, house.door, house.clock, uploads)
    transport = httpx.ASGITransport(Starlette(routes=routes))
    async with httpx.AsyncClient(transport=transport, base_url="http://test", headers=KEY) as client:
        yield client


async def test_an_inference(house, client):
    answer = await client.post("/v2/models/tensors/versions/3/infer", json={"id": "7", "inputs": [X]})
    assert (answer.status_code, answer.json()) == (
        200,
        {
            "model_name": "tensors-2026",
            "model_version": "3",
            "id": "7",
            "outputs": [{"name": "outx", "datatype": "UINT8", "shape": [2, 2], "data": [1, 2, 1, 2]}],
        },
    )
    assert house.tokens() == {Dimension.INFERENCES: 1, Dimension.INFERENCE_BYTES: 6}


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/v2/models/tensors/infer", {"authorization": "Bearer wrong"}, 401),
        ("/v2/models/none/infer", {}, 404),
        ("/v2/models/vectors/infer", {}, 400),
        ("/v2/models/tensors/infer?a=b", {}, 400),
    ],
)
async def test_refusals_have_the_protocols_shape(client, path, headers, status):
    answer = await client.post(path, json={"inputs": [X]}, headers=headers)
    assert answer.status_code == status
    assert set(answer.json()) == {"error"}


async def test_health_needs_no_key(house, client):
    del client.headers["authorization"]
    for path in ("/v2", "/v2/health/live", "/v2/health/ready"):
        assert (await client.get(path)).status_code == 200
    house.ledger.error = LedgerUnavailable("full")
    assert (await client.get("/v2/health/ready")).status_code == 503
    assert (await client.get("/v2/health/live")).status_code == 200
    for path in ("/v2/models/tensors", "/v2/models/tensors/ready"):
        answer = await client.get(path)
        assert (answer.status_code, set(answer.json())) == (401, {"error"})


async def test_a_model_tells_of_itself(house, client):
    answer = await client.get("/v2/models/tensors/versions/1")
    assert answer.json()["inputs"] == [{"name": "x", "datatype": "UINT8", "shape": [-1]}]
    assert (await client.get("/v2/models/tensors/ready")).json() == {"name": "tensors", "ready": True}
    house.inferrer.unwell = EngineError("away")
    answer = await client.get("/v2/models/tensors/ready")
    assert (answer.status_code, answer.json()) == (503, {"name": "tensors", "ready": False})
    assert (await client.get("/v2/models/none")).status_code == 404
    assert (await client.get("/v2/models/vectors")).status_code == 400


@pytest.mark.parametrize(("error", "status"), [(NotFound("no such version"), 404), (EngineError("away"), 502)])
async def test_a_model_that_cannot_tell(house, client, error, status):
    house.inferrer.error = error
    answer = await client.get("/v2/models/tensors/versions/9")
    assert (answer.status_code, answer.json()) == (status, {"error": error.message})


async def test_a_model_that_does_not_answer(house, client, monkeypatch):
    monkeypatch.setattr(lookups, "PATIENCE_S", 0.01)
    house.inferrer.gate.clear()
    assert (await client.get("/v2/models/tensors")).status_code == 504


async def test_a_defect_is_said_without_its_cause(house, client):
    house.inferrer.error = RuntimeError("secret")
    answer = await client.get("/v2/models/tensors")
    assert answer.status_code == 500
    assert "secret" not in answer.text


async def test_how_many_one_project_may_ask_at_once_is_bounded(house, client, monkeypatch):
    monkeypatch.setattr(lookups, "PATIENCE_S", 60)
    asked, answered = 0, asyncio.Event()

    async def check():
        nonlocal asked
        asked += 1
        await answered.wait()

    monkeypatch.setattr(house.inferrer, "check", check)
    waiting = [asyncio.create_task(client.get("/v2/models/tensors/ready")) for _ in range(lookups.MOST_OF_A_PROJECT)]
    while asked < len(waiting):  # noqa: ASYNC110
        await asyncio.sleep(0)
    refused = await client.get("/v2/models/tensors/ready")
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
    answered.set()
    assert {(await each).status_code for each in waiting} == {200}
    assert (await client.get("/v2/models/tensors/ready")).status_code == 200
