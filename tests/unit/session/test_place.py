"""What a caller may use: by the policy of its project, and by its key."""

import json
from dataclasses import replace

import pytest

from antiphon.calls.relay import relay
from antiphon.catalogue.language import Served
from antiphon.core.audit import Action, Outcome
from antiphon.core.call import Call
from antiphon.core.conversation.spec import ConverseSpec
from antiphon.core.endpoints import AnswerRequest, Offer
from antiphon.core.errors import NoEngineAllowed, PolicyError, UnknownModel
from antiphon.core.events import Opened
from antiphon.core.identity import Webhook
from antiphon.core.place import SELF, Processing
from antiphon.core.policy import Policy
from antiphon.core.routing import CallRow, LookupRow
from antiphon.core.specs import GenerateSpec
from antiphon.core.stores import Claim
from antiphon.core.wire import NOTHING, Head, Opening, Response, Step
from antiphon.foundation import receivers
from antiphon.pools.pool import Backend, Pool
from antiphon.pools.queue import QueueLimits
from antiphon.routes import JOB_CALLS, ROUTES
from antiphon.session.parts import OpenParts
from antiphon.trust.residency import Residency
from session_house import closed, events_of

OWN = Processing("eu-de", SELF, retention_s=0)


@pytest.fixture
def placed(house):
    """The house with an engine of its own behind each version, and a far one behind 'counter-2026'; `policy` is that
    of the project.
    """
    house.policy = Policy()
    for version, served in list(house.served.items()):
        house.served[version] = replace(served, engines=("buzz" if version == "tone-2026" else version,))
    house.served["counter-2026"] = replace(house.served["counter-2026"], engines=("far",))
    house.served["near-2026"] = Served(
        "near-2026", house.generator, house.served["counter-2026"].serves, engines=("near",)
    )
    engines = dict.fromkeys(("tiny", "buzz", "vectors-2026", "tensors-2026", "near"), OWN) | {"far": Processing()}
    residency = Residency(engines, lambda project: house.policy, house.clock)
    house.sessions._permit = lambda principal: residency.permit(principal, house.auditor.misplaced)
    house.sessions.all._region = residency.region
    return house


def refused(house):
    return [(e.actor, e.project, e.object, e.reason) for e in house.ledger.records if e.action is Action.ENGINE_REFUSE]


async def test_without_requirements_everything_is_served(placed):
    session = placed.generate()
    await events_of(session)
    await session.close(delivered=True)
    assert refused(placed) == []


class Answers:
    """A surface that writes a head with the first event that is not the opening."""

    def __init__(self):
        self.begun = False

    def emit(self, event, now_ns):
        if self.begun or isinstance(event, Opened):
            return NOTHING
        self.begun = True
        return Step((), (Head(200, (("a", "b"),)), b"x"))


@pytest.mark.parametrize("open", ["generate", "embed", "infer", "speak"])
async def test_an_answer_says_where_it_is_from_where_a_region_is_required(placed, open):
    async def head():
        sent = []

        async def send(messages, close):
            sent.extend(messages)

        model = {"model": "near-2026"} if open == "generate" else {}
        session = getattr(placed, open)(*(["x"] if open == "embed" else []), **model)
        await relay(session, Answers(), placed.clock, send)
        await session.close(delivered=True)
        return sent[0].headers

    version = {"embed": "vectors-2026", "infer": "tensors-2026", "generate": "near-2026"}.get(open)
    if version:  # several engines may serve one version: the pool tells which one did
        engine = placed.served[version].engine
        pool = Pool([Backend(placed.served[version].engines[0], engine)], placed.clock, QueueLimits())
        placed.served[version] = replace(placed.served[version], engine=pool)
    assert await head() == (("a", "b"),)
    placed.policy = Policy(regions="eu")
    assert await head() == (("a", "b"), ("antiphon-region", "eu-de"))


async def test_a_stream_says_it_when_it_opens(placed):
    placed.policy = Policy(regions="eu")
    session = placed.open()
    assert session.region == "eu-de"
    await session.close(delivered=True)


async def test_a_model_without_a_permitted_engine_is_refused_and_audited(placed):
    placed.policy = Policy(processors="self")
    with pytest.raises(NoEngineAllowed, match="requires: processor self"):
        placed.generate()
    assert refused(placed) == [("k1", "acme", "counter-2026", "no_engine_allowed")]
    assert placed.ledger.records[-1].outcome is Outcome.REFUSED
    session = placed.generate(model="near-2026")
    assert (await events_of(session))[-1]
    await session.close(delivered=True)
    await closed()


@pytest.mark.parametrize("open", ["open", "generate", "embed", "infer", "speak"])
async def test_every_kind_of_call_obeys(placed, open):
    placed.policy = Policy(regions="mars")
    with pytest.raises(NoEngineAllowed, match="region mars"):
        getattr(placed, open)()


async def test_an_item_of_a_job_obeys_by_the_policy_of_the_moment(placed):
    class Asks:
        def negotiate(self, opening, sent):
            return AnswerRequest(GenerateSpec("counter", "hello"), None)

    class Held:
        def add(self, more_bytes):
            pass

        def keep(self, most_bytes):
            pass

    placed.policy = Policy(processors="self")
    row, asked = CallRow("/v1/chat/completions", "openai", Asks()), Opening("POST", "/", request_id="q1")
    claim = Claim("acme", "", "f", "q1", 0)
    with pytest.raises(NoEngineAllowed):
        await placed.door.item(row, asked, placed.principal, b"", Held(), claim)
    assert refused(placed)[0][2] == "counter-2026"


async def test_a_conversation_obeys_in_each_of_its_parts(placed):
    placed.policy = Policy(regions="eu")
    caller = replace(placed.principal)
    parts = OpenParts(placed.sessions, Call("", caller, "openai", ConverseSpec(model="counter")))
    with pytest.raises(NoEngineAllowed):
        parts.check(ConverseSpec(model="counter"))
    parts.check(ConverseSpec(model="near-2026"))
    with pytest.raises(NoEngineAllowed):
        parts.generate("c1", GenerateSpec("counter", "hello"), held=False)


async def test_a_name_that_is_not_said_is_one_that_may_be_used(placed):
    placed.policy = Policy(regions="eu")
    first = placed.sessions.catalogue(placed.principal).first([GenerateSpec])
    assert first.version == "near-2026"


async def test_lists_show_what_may_be_used_only(placed):
    def tell(offered):
        return Response(
            200, (), json.dumps([[c.name for c in offered.models], [c.name for c in offered.voices]]).encode()
        )

    async def listed(principal):
        answer = await placed.door._lookups.answer(Offer(tell), principal, "openai", Opening("GET", "/"))
        return json.loads(answer.body)

    models, voices = await listed(placed.principal)
    assert {"counter", "counter-2026", "near-2026", "tone", "tiny"} <= set(models)
    assert voices == ["alloy", "buzz"]
    placed.policy = Policy(regions="eu")
    models, voices = await listed(placed.principal)
    assert "counter" not in models
    assert {"near-2026", "tone", "tiny"} <= set(models)
    placed.policy = Policy(regions="mars")
    assert await listed(placed.principal) == [[], []]


async def test_a_key_uses_only_the_models_that_it_names(placed):
    caller = replace(placed.principal, models=("nova-*", "near-2026", "tone"))
    models, voices = placed.sessions.catalogue(caller), placed.sessions.voices(caller)
    assert models.resolve("nova-3", [placed.served["tiny"].serves]).version == "tiny"
    with pytest.raises(PolicyError, match="may not use the model 'counter'"):
        models.resolve("counter", [GenerateSpec])
    with pytest.raises(UnknownModel, match="Available: near-2026\\."):
        models.resolve("nothing", [GenerateSpec])
    assert voices.resolve("tone", "alloy")[0] == "tone-2026"
    with pytest.raises(PolicyError):
        voices.resolve("alloy", "")
    assert [card.name for card in voices.models()] == ["tone"]


@pytest.mark.parametrize(
    "row", [row for row in (*ROUTES, *JOB_CALLS) if isinstance(row, CallRow)], ids=lambda r: r.path
)
def test_every_vendor_says_that_it_is_refused(row):
    """With 403, or what the vendor says for it, and the reason."""
    opening = Opening("POST", row.path, request_id="00000000-0000-0000-0000-000000000001")
    step = row.endpoint.refuse(opening, NoEngineAllowed("No engine satisfies: region eu.", param="model"))
    text = repr(step)
    assert "region eu" in text
    assert "403" in text or "PERMISSION_DENIED" in text or "AccessDenied" in text


def test_lookups_that_need_no_key_are_few():
    shown = {row.path for row in ROUTES if isinstance(row, LookupRow) and row.open}
    assert "/v1/models" not in shown


async def test_content_goes_to_no_webhook_where_the_policy_says_where_it_may_go(placed, monkeypatch):
    monkeypatch.setattr(
        placed.keys, "webhooks", lambda project: [Webhook("w1", "acme", "", "https://a.example", 1, "s")]
    )
    monkeypatch.setattr(placed.keys, "policy", lambda project: placed.policy)
    placed.sessions.check_webhook(placed.principal, "w1")
    assert [each.id for each in receivers(placed.keys, "acme")] == ["w1"]
    placed.policy = Policy(regions="eu")
    with pytest.raises(PolicyError, match="nothing is known of the receivers"):
        placed.sessions.check_webhook(placed.principal, "")
    assert receivers(placed.keys, "acme") == ()
