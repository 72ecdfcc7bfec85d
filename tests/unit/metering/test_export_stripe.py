"""What Stripe is sent, what its answers and reports mean, and how its meters come to be."""

import json
from urllib.parse import parse_qs

import pytest

from antiphon.core.errors import CallerError, CapacityError, EngineError, Unauthenticated
from antiphon.core.exports import Batch, BatchState, Cut, Mark, Refusal, UsageEvent
from antiphon.core.usage import Dimension
from antiphon.metering.export import stripe_reports
from antiphon.metering.export.meters import Meter, usual_meters
from antiphon.metering.export.receivers import Answer, Verdict
from antiphon.metering.export.stripe import Stripe
from antiphon.metering.export.stripe_hook import Account, StripeHook
from antiphon.metering.export.stripe_meters import Outcome, sync
from antiphon.testing import FakeClock, FakeExports
from receivers import FakeStripe, Network, sign

SECRET = "whsec_test"
METERS = (
    Meter(name="in_large", dimension=Dimension.LLM_INPUT_TOKENS, model="large*"),
    Meter(name="out", dimension=Dimension.LLM_OUTPUT_TOKENS),
)


def stripe(customer="cus_1"):
    return Stripe("sk_test_1", lambda project: customer)


def event(quantity=-7, **values):
    usual = {"identifier": "out/a/1-2/ff", "project": "acme", "meter": "out", "at_unix_ms": 1_767_225_600_999}
    return UsageEvent(**usual | {"quantity": quantity, "first": 1, "last": 2} | values)


def answer(status, body=b"", **headers):
    return Answer(status, headers, body)


# -- events ------------------------------------------------------------------------------------------------------------


def test_an_event_is_a_form_with_whole_numbers_as_text():
    batch = Batch(identifier="out/a/1-2/ff", lane="", body=stripe().body([event(labels=(("model", "m"),))]), events=())
    request = stripe().request(batch, 5)
    assert request.url == "https://api.stripe.com/v1/billing/meter_events"
    assert request.headers == {
        "Authorization": "Bearer sk_test_1",
        "Stripe-Version": "2026-10-28.endive",
        "Content-Type": "application/x-www-form-urlencoded",
        "Idempotency-Key": "out/a/1-2/ff",
    }
    assert parse_qs(request.body.decode()) == {
        "event_name": ["out"],
        "identifier": ["out/a/1-2/ff"],
        "timestamp": ["1767225600"],
        "payload[stripe_customer_id]": ["cus_1"],
        "payload[value]": ["-7"],
        "payload[model]": ["m"],
    }


def test_the_key_is_in_no_representation():
    assert "sk_test" not in repr(stripe())


def test_what_stripe_would_not_take_is_known_before():
    assert stripe("").refusal(event()) == "no_customer"
    assert stripe().refusal(event(10**15)) == stripe().refusal(event(-(10**15))) == "too_many_digits"
    assert stripe().refusal(event(10**15 - 1)) is None
    assert stripe("none").skips("acme")
    assert not stripe("").skips("acme")


@pytest.mark.parametrize(
    ("said", "verdict", "doubtful"),
    [
        (answer(200), Verdict.TAKEN, False),
        (answer(400, b'{"error":{"code":"duplicate_meter_event"}}'), Verdict.TAKEN, False),
        (answer(400, b'{"error":{"message":"An event already exists with identifier x."}}'), Verdict.TAKEN, False),
        (answer(400, b'{"error":{"code":"parameter_missing"}}'), Verdict.REFUSED, False),
        (answer(400, b"\xff"), Verdict.REFUSED, False),
        (answer(404), Verdict.REFUSED, False),
        (answer(401), Verdict.LATER, False),
        (answer(302), Verdict.LATER, False),
        (answer(429), Verdict.LATER, False),
        (answer(409), Verdict.LATER, True),
        (answer(500), Verdict.LATER, True),
    ],
)
def test_what_an_answer_means(said, verdict, doubtful):
    judged = stripe().judge(said)
    assert (judged.verdict, judged.doubtful) == (verdict, doubtful)


def test_a_reason_has_a_code_and_no_content():
    body = json.dumps({"error": {"code": "parameter_invalid", "message": "secret 123"}}).encode()
    assert stripe().judge(answer(400, body)).reason == "status 400 parameter_invalid"
    body = json.dumps({"error": {"code": "Jane Roe"}}).encode()
    assert stripe().judge(answer(400, body)).reason == "status 400"


@pytest.mark.parametrize(("text", "ms"), [("7", 7000), ("", 0), ("soon", 0), ("-1", 0), ("9" * 9, 3_600_000), ("٣", 0)])
def test_a_time_to_retry_is_followed_where_it_makes_sense(text, ms):
    assert stripe().judge(answer(429, **{"retry-after": text})).retry_after_ms == ms


# -- reports -----------------------------------------------------------------------------------------------------------


def test_a_signature_holds_for_its_body_its_secret_and_five_minutes():
    body, header = sign(b"{}", SECRET, 1000)
    for now in (700, 1000, 1300):
        stripe_reports.verify(body, header, SECRET, now)
    stripe_reports.verify(body, f"t=1000, v1=00,v1={header.partition('v1=')[2]},v0=1", SECRET, 1000)
    for wrong in (
        (b"{} ", header, SECRET, 1000),
        (body, header, "whsec_other", 1000),
        (body, header, SECRET, 1301),
        (body, header, SECRET, 699),
        (body, header.replace("t=1000", "t=1001"), SECRET, 1000),
        (body, header.replace("t=1000", "t=1000,t=1000"), SECRET, 1000),
        (body, header.replace("v1=", "v0="), SECRET, 1000),
        (body, "", SECRET, 1000),
        (body, "t=x,v1=é", SECRET, 1000),
    ):
        with pytest.raises(Unauthenticated):
            stripe_reports.verify(*wrong)


def test_a_report_names_a_few_and_counts_the_rest():
    types = [
        {"code": "no_meter", "error_count": 5, "sample_errors": [{"request": {"identifier": "a"}}, {"request": {}}]},
        {"code": "Odd Code", "error_count": 1, "sample_errors": [{"request": {"identifier": "b"}}]},
    ]
    whole = {"id": "evt_1", "type": "v1.billing.meter.no_meter_found", "data": {"reason": {"error_types": types}}}
    report = stripe_reports.parse(json.dumps(whole).encode())
    assert report.refusals == (Refusal("a", "no_meter"), Refusal("b", "unknown"))
    rest = "no_meter: 4 more events, which Stripe does not name"
    assert report.others == (Refusal("evt_1/no_meter", rest),)
    assert stripe_reports.parse(json.dumps(whole | {"type": "v1.other"}).encode()) is None
    for wrong in (b"", b"[]", b"\xff", json.dumps(whole | {"id": "../x"}).encode(), b'{"id": "evt_1"}'):
        with pytest.raises(CallerError):
            stripe_reports.parse(wrong)


class Hooked:
    """An outbox whose batches Stripe took, and then did not count."""

    def __init__(self):
        self.clock, self.exports = FakeClock(), FakeExports()
        self.peer = FakeStripe(self.clock)
        self.network = Network(self.peer)
        self.receiver = Stripe("sk_test_1", lambda project: "cus_gone")
        accounts = [Account("other", self.receiver, "whsec_2"), Account("out", self.receiver, SECRET)]
        self.hook = StripeHook(accounts, self.exports, self.network.post, self.clock)

    async def take(self, count):
        events = [event(identifier=f"e{number}") for number in range(count)]
        batches = [
            Batch(identifier=each.identifier, lane=each.identifier, body=self.receiver.body([each]), events=(each,))
            for each in events
        ]
        await self.exports.cut("out", None, Cut(9, "", "o"), batches, 0)
        for batch in self.exports.batches("out"):
            taken = await self.network.post(self.receiver.request(batch, 0))
            assert taken.status == 200
            await self.exports.mark("out", [Mark(batch.number, BatchState.TAKEN)], 0)

    async def gaps(self):
        return [(gap.identifier, gap.reason) for gap in await self.exports.gaps("out")]


@pytest.fixture
def hooked():
    return Hooked()


async def test_what_stripe_does_not_count_is_a_gap(hooked):
    hooked.peer.add_meter("out")
    await hooked.take(3)
    body, signature = hooked.peer.report(SECRET, samples=2)
    await hooked.hook.receive(body, signature)
    await hooked.hook.receive(body, signature)
    reason = "meter_event_customer_not_found"
    assert await hooked.gaps() == [
        ("e0", reason),
        ("e1", reason),
        (f"evt_1/{reason}", f"{reason}: 1 more events, which Stripe does not name"),
    ]
    assert hooked.network.requests[-1][1].url == "https://api.stripe.com/v2/core/events/evt_1"
    numbers = [gap.number for gap in await hooked.exports.gaps("out")]
    assert await hooked.exports.send_again("out", numbers) == 2
    assert {each.identifier for each in await hooked.exports.waiting("out", 0, 9)} == {"e0/r2", "e1/r2"}
    await hooked.hook.receive(body, signature)
    assert len(await hooked.gaps()) == 1


async def test_a_report_that_cannot_be_fetched_is_to_be_sent_again(hooked):
    hooked.peer.add_meter("out")
    await hooked.take(1)
    body, signature = hooked.peer.report(SECRET)
    for mood in ("500", "late", "refused"):
        hooked.network.mood = lambda mood=mood: mood
        with pytest.raises(CapacityError):
            await hooked.hook.receive(body, signature)
    assert await hooked.gaps() == []


async def test_what_is_not_signed_or_another_event_changes_nothing(hooked):
    hooked.peer.add_meter("out")
    await hooked.take(1)
    body, signature = hooked.peer.report("whsec_wrong")
    with pytest.raises(Unauthenticated):
        await hooked.hook.receive(body, signature)
    await hooked.hook.receive(*sign(b'{"id": "evt_1", "type": "v1.other"}', SECRET, hooked.clock.unix_ms() // 1000))
    assert await hooked.gaps() == []


# -- meters ------------------------------------------------------------------------------------------------------------


async def synced(peer, meters=METERS, **options):
    found = await sync(stripe(), Network(peer).post, meters, **options)
    return [(each.meter.name, each.outcome, each.id) for each in found]


async def test_meters_are_made_once_and_matched_then():
    peer = FakeStripe(FakeClock())
    assert await synced(peer, make=False) == [("in_large", Outcome.DIFFERENT, ""), ("out", Outcome.DIFFERENT, "")]
    assert peer.meters == {}
    assert await synced(peer) == [("in_large", Outcome.CREATED, "mtr_1"), ("out", Outcome.CREATED, "mtr_2")]
    assert await synced(peer) == [("in_large", Outcome.MATCHED, "mtr_1"), ("out", Outcome.MATCHED, "mtr_2")]


async def test_a_meter_that_is_there_and_different_is_told():
    peer = FakeStripe(FakeClock())
    for number in range(250):  # of other people
        peer.add_meter(f"other {number}")
    peer.add_meter("in_large", formula="count")
    peer.add_meter("out", status="inactive")
    found = await sync(stripe(), Network(peer).post, METERS)
    assert [each.why for each in found] == [
        "default_aggregation.formula is 'count', expected 'sum'",
        "status is 'inactive', expected 'active'",
    ]


async def test_stripe_that_refuses_or_fails_is_told():
    peer = FakeStripe(FakeClock(), key="another")
    with pytest.raises(CallerError, match="status 401: Invalid API Key"):
        await sync(stripe(), Network(peer).post, METERS)
    for mood in ("500", "refused", "late"):
        with pytest.raises(EngineError):
            await sync(stripe(), Network(peer, lambda mood=mood: mood).post, METERS)


def test_there_is_a_usual_meter_for_each_dimension():
    assert {meter.dimension for meter in usual_meters()} == set(Dimension)
    assert "antiphon_llm_cached_input_tokens" in {meter.name for meter in usual_meters()}
