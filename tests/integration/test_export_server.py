"""A whole server, without engines, that exports: from the ledger to Stripe, and Stripe's report back."""

import asyncio
import time

import httpx
import pytest
from aiohttp import web

from antiphon.app import assemble
from antiphon.config import load
from antiphon.core.entry import Entry
from antiphon.core.usage import Dimension, Quantity
from antiphon.foundation import SystemClock
from receivers import FakeStripe, behind

KEY = "k" * 20
WITHIN_S = 60.0


@pytest.fixture
async def stripe():
    fake = FakeStripe(SystemClock())
    fake.add_meter("audio")

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", behind(fake))
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    fake.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield fake
    await runner.cleanup()


async def until(holds):
    async with asyncio.timeout(WITHIN_S):
        while not await holds():  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def test_usage_goes_to_stripe_and_what_it_does_not_count_is_a_gap(stripe, tmp_path, monkeypatch):
    monkeypatch.setenv("STRIPE_API_KEY", "sk_test_1")
    monkeypatch.setenv("REPORTS", "whsec_x")
    path = tmp_path / "antiphon.toml"
    path.write_text(f"""
data_dir = "{tmp_path}/data"
models = {{}}
[engines]
[export.stripe]
kind = "stripe"
interval_s = 1
start = "beginning"
url = "{stripe.url}"
webhook_secret_env = "REPORTS"
[export.stripe.meters]
audio = {{ dimension = "stt.audio_ms" }}
""")
    async with assemble(load(path, {"ANTIPHON_API_KEY": KEY})) as house:
        client = httpx.AsyncClient(
            transport=httpx.ASGITransport(house.asgi),
            base_url="http://test",
            headers={"authorization": f"Bearer {KEY}"},
        )
        project = await client.patch("/admin/v1/projects/default", json={"stripe_customer": "cus_acme"})
        assert project.json()["stripe_customer"] == "cus_acme"
        await until(lambda: followed(house))
        await house.sessions._services.ledger.append([entry()])

        async def counted():
            return stripe.sums == {("cus_acme", "audio"): 1500}

        async def taken():
            return (await client.get("/admin/v1/exports")).json()["data"][0]["taken"] == 1

        await until(counted)
        await until(taken)
        stripe.failures = [(next(iter(stripe.known)), "no_meter")]
        body, signature = stripe.report("whsec_x")
        unsigned = await client.post("/hooks/stripe", content=body, headers={"stripe-signature": "t=1,v1=00"})
        assert unsigned.status_code == 401
        reported = await client.post("/hooks/stripe", content=body, headers={"stripe-signature": signature})
        assert reported.status_code == 204
        [gap] = (await client.get("/admin/v1/exports/stripe/gaps")).json()["data"]
        assert (gap["project"], gap["reason"], gap["quantity"]) == ("default", "no_meter", 1500)
        assert (await client.get("/readyz")).status_code == 200
        assert (
            'antiphon_export_attempts_total{result="taken",target="stripe"} 1.0' in (await client.get("/metrics")).text
        )
        await client.aclose()


async def followed(house):
    return house.sessions._keys.policy("default").stripe_customer == "cus_acme"


def entry():
    return Entry(
        project="default",
        key_id="k",
        session="00000000-0000-0000-0000-000000000001",
        sequence=0,
        at_unix_ms=time.time_ns() // 1_000_000,
        surface="x",
        model="m",
        quantity=Quantity(Dimension.STT_AUDIO_MS, 1500),
    )
