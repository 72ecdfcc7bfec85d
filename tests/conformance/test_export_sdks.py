"""Usage through real sockets to receivers that the official SDKs of Stripe and OpenMeter speak with, too: what they
read there is what the ledger says, and the receivers refuse them what they refuse us.
"""

import asyncio
import time
from collections import Counter

import openmeter
import pytest
import stripe
from aiohttp import web
from corehttp.exceptions import HttpResponseError
from openmeter.models import Event

from antiphon.core.entry import Entry
from antiphon.core.exports import BatchState
from antiphon.core.usage import Dimension, Quantity
from antiphon.metering.export.cloudevents import OpenMeter
from antiphon.metering.export.meters import Meter, Metering
from antiphon.metering.export.outbox import Outbox, Start, Target
from antiphon.metering.export.sender import Sender
from antiphon.metering.export.stripe import Stripe
from antiphon.metering.export.stripe_hook import Account, StripeHook
from antiphon.metering.export.stripe_meters import Outcome, sync
from antiphon.testing import FakeClock, FakeExports, FakeLedger
from receivers import FakeOpenMeter, FakeStripe

METERING = Metering(
    (Meter(name="tokens", dimension=Dimension.LLM_INPUT_TOKENS), Meter(name="audio", dimension=Dimension.STT_AUDIO_MS))
)
SECRET = "whsec_test"


class Peer:
    """A receiver behind a socket."""

    def __init__(self, fake):
        self.fake = fake

    async def __aenter__(self):
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *error):
        await self._runner.cleanup()

    async def _answer(self, request):
        said = self.fake.answer(request.method, request.path_qs, request.headers, await request.read())
        return web.Response(status=said.status, headers=said.headers, body=said.body)


@pytest.fixture
def clock():
    return FakeClock(time.time_ns() // 1_000_000)


@pytest.fixture
async def sender():
    made = Sender()
    yield made
    await made.close()


async def exported(clock, receiver, sender):
    """A ledger whose usage has gone to the receiver, and its outbox."""
    ledger, exports = FakeLedger(), FakeExports()
    outbox = Outbox(Target("out", receiver, METERING, 1000, Start.BEGINNING), exports, ledger, sender.post, clock)
    amounts = [("acme", Dimension.LLM_INPUT_TOKENS, 640), ("acme", Dimension.STT_AUDIO_MS, 1500)]
    amounts += [("other", Dimension.LLM_INPUT_TOKENS, 7), ("acme", Dimension.LLM_INPUT_TOKENS, 2)]
    amounts += [("gone", Dimension.LLM_INPUT_TOKENS, 9)]
    for number, (project, dimension, amount) in enumerate(amounts):
        entry = Entry(
            project=project,
            key_id="k",
            session=f"00000000-0000-0000-0000-{number:012}",
            sequence=0,
            at_unix_ms=clock.unix_ms(),
            surface="openai",
            model="m",
            quantity=Quantity(dimension, amount),
        )
        await ledger.append([entry])
    await outbox.step()
    return exports


async def test_stripe_counts_what_the_ledger_says_and_its_sdk_agrees(clock, sender):
    async with Peer(FakeStripe(clock)) as peer:
        receiver = Stripe("sk_test_1", lambda project: f"cus_{project}", url=peer.url)
        synced = await sync(receiver, sender.post, METERING.meters)
        assert [each.outcome for each in synced] == [Outcome.CREATED, Outcome.CREATED]
        exports = await exported(clock, receiver, sender)
        assert {batch.state for batch in exports.batches("out")} == {BatchState.TAKEN}
        first = exports.batches("out")[0].identifier
        await asyncio.to_thread(_ask_stripe, peer.url, first)
        # What Stripe says later on.
        body, signature = peer.fake.report(SECRET)
        whole = await asyncio.to_thread(_read_report, peer.url, body, signature)
        reasons = [(each.code, each.error_count) for each in whole.data.reason.error_types]
        assert reasons == [("meter_event_customer_not_found", 2)]
        hook = StripeHook([Account("out", receiver, SECRET)], exports, sender.post, clock)
        await hook.receive(body, signature)
        [gap] = await exports.gaps("out")
        assert (gap.reason, gap.events[0].quantity) == ("meter_event_customer_not_found", 9)


def _read_report(url, body, signature):
    client = stripe.StripeClient("sk_test_1", base_addresses={"api": url})
    with pytest.raises(stripe.SignatureVerificationError):
        client.parse_event_notification(body, signature, "whsec_other")
    return client.parse_event_notification(body, signature, SECRET).fetch_event()


def _ask_stripe(url, first):
    addresses = {"api": url, "meter_events": url}
    client = stripe.StripeClient("sk_test_1", base_addresses=addresses, max_network_retries=0)
    meters = {meter.event_name: meter for meter in client.v1.billing.meters.list().data}
    assert set(meters) == {"tokens", "audio"}
    minute = int(time.time()) // 60 * 60

    def total(meter, customer):
        params = {"customer": customer, "start_time": minute - 3600, "end_time": minute + 60}
        return client.v1.billing.meters.event_summaries.list(meters[meter].id, params).data[0].aggregated_value

    assert total("tokens", "cus_acme") == 642
    assert total("tokens", "cus_other") == 7
    assert total("audio", "cus_acme") == 1500

    def create(value="1", customer="cus_acme", **values):
        payload = {"stripe_customer_id": customer, "value": value}
        return client.v1.billing.meter_events.create({"event_name": "tokens", "payload": payload} | values)

    assert create("5", identifier="by-the-sdk").identifier == "by-the-sdk"
    assert total("tokens", "cus_acme") == 647
    for wrong in (
        {"identifier": "by-the-sdk"},
        {"identifier": first},
        {"identifier": "a", "value": "1.5"},
        {"identifier": "b", "value": "1" * 16},
        {"identifier": "c", "timestamp": int(time.time()) - 36 * 86_400},
        {"identifier": "d", "timestamp": int(time.time()) + 600},
    ):
        with pytest.raises(stripe.InvalidRequestError):
            create(**wrong)
    create(customer="cus_gone", identifier="later")
    with pytest.raises(stripe.AuthenticationError):
        stripe.StripeClient("sk_test_2", base_addresses=addresses).v1.billing.meters.list()


async def test_openmeter_counts_what_the_ledger_says_and_its_sdk_agrees(clock, sender):
    async with Peer(FakeOpenMeter(clock)) as peer:
        exports = await exported(clock, OpenMeter(peer.url, "om_1"), sender)
        [batch] = exports.batches("out")
        assert (batch.state, len(batch.events)) == (BatchState.TAKEN, 4)
        await asyncio.to_thread(_ask_openmeter, peer.url, batch.events[0].identifier)
        assert peer.fake.sums == Counter(
            {("acme", "tokens"): 647, ("acme", "audio"): 1500, ("other", "tokens"): 7, ("gone", "tokens"): 9}
        )


def _ask_openmeter(url, first):
    with openmeter.Client(endpoint=url, token="om_1") as client:
        rows = client.meters.query_json("tokens").data
        assert [(row.subject, row.value) for row in rows] == [("acme", 642), ("gone", 9), ("other", 7)]

        def event(id, value):
            return Event(
                id=id, source="antiphon", specversion="1.0", type="tokens", subject="acme", data={"value": value}
            )

        client.events.ingest_events([event(first, 1000), event("by-the-sdk", "5"), event("by-the-sdk", "5")])
        with pytest.raises(HttpResponseError):
            client.events.ingest_events([event("x", "5")], content_type="application/xml")
    with openmeter.Client(endpoint=url, token="om_2") as client, pytest.raises(HttpResponseError):
        client.meters.query_json("tokens")
