"""Which engines may serve a project, by the rule of place and processor."""

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.core.errors import CallerError, NoEngineAllowed, PolicyError
from antiphon.core.identity import USUAL_SCOPES, Principal
from antiphon.core.place import SELF, Agreement, Processing
from antiphon.core.policy import STRICTEST, Policy, parse_policy, read_policy
from antiphon.testing import FakeClock
from antiphon.trust.residency import Requirement, Residency, failures, requirement_of

TODAY = date(2026, 11, 30)
OWN = Processing("eu-de", SELF, retention_s=0)
ACME = Processing("us-east", "acme", {Agreement.DPA: None, Agreement.BAA: date(2026, 11, 30)}, 30 * 86_400)
UNSAID = Processing()
CALLER = Principal("acme", "k1", USUAL_SCOPES)


def unmet(policy, processing, today=TODAY):
    return [each.required for each in failures(requirement_of(policy), processing, today)]


@pytest.mark.parametrize(
    ("policy", "processing", "expected"),
    [
        (Policy(), UNSAID, []),
        (Policy(regions="eu"), OWN, []),
        (Policy(regions="eu-de"), OWN, []),
        (Policy(regions="eu-de-1"), OWN, ["region eu-de-1"]),
        (Policy(regions="e"), OWN, ["region e"]),
        (Policy(regions="eu"), Processing("europe", SELF), ["region eu"]),
        (Policy(regions="eu,us"), ACME, []),
        (Policy(processors="self"), OWN, []),
        (Policy(processors="self"), ACME, ["processor self"]),
        (Policy(processors="acme,self"), ACME, []),
        (Policy(agreements="baa,dpa"), ACME, []),
        (Policy(agreements="baa"), OWN, []),
        (Policy(agreements="baa"), Processing("us", "other"), ["agreement baa"]),
        (Policy(max_retention="30d"), ACME, []),
        (Policy(max_retention="29d"), ACME, ["retention of at most 29d"]),
        (Policy(max_retention="none"), OWN, []),
        (Policy(max_retention="4w"), UNSAID, ["retention of at most 28d"]),
        (STRICTEST, OWN, ["region nowhere", "processor nobody"]),
    ],
)
def test_the_rule(policy, processing, expected):
    assert unmet(policy, processing) == expected


def test_what_is_not_said_satisfies_no_requirement():
    policy = Policy(regions="eu", processors="self", agreements="baa,dpa", max_retention="30d")
    assert len(unmet(policy, UNSAID)) == 5


def test_an_agreement_holds_to_the_end_of_its_last_day():
    assert unmet(Policy(agreements="baa"), ACME, date(2026, 12, 1)) == ["agreement baa"]
    found = failures(Requirement(agreements=(Agreement.BAA,)), ACME, date(2026, 12, 1))
    assert found[0].found == "baa ended on 2026-11-30"


@given(st.sampled_from(["", "eu", "eu-de"]), st.sampled_from(["", "self"]), st.sampled_from(["", "none", "30d"]))
def test_a_further_requirement_never_allows_more(regions, processors, retention):
    policy = Policy(regions=regions, processors=processors, max_retention=retention)
    for processing in (OWN, ACME, UNSAID):
        fewer = unmet(Policy(regions=regions), processing)
        assert set(fewer) <= set(unmet(policy, processing))


class House:
    def __init__(self, **engines):
        self.clock = FakeClock()
        self.policy = Policy()
        self.noted = []
        self.residency = Residency(engines, lambda project: self.policy, self.clock)

    def permit(self, principal=CALLER):
        return self.residency.permit(principal, lambda *noted: self.noted.append(noted))


def test_a_change_of_policy_and_the_end_of_an_agreement_hold_at_once():
    house = House(own=OWN, far=ACME)
    assert house.residency.permitted("acme") is None
    house.policy = Policy(agreements="baa")
    day = house.clock.unix_ms() // 86_400_000
    last = date.fromordinal(date(1970, 1, 1).toordinal() + day)
    house.residency._engines = {"own": OWN, "far": Processing("us", "acme", {Agreement.BAA: last})}
    assert house.residency.permitted("acme") == {"own", "far"}
    house.clock.advance_ms(24 * 3_600_000)
    assert house.residency.permitted("acme") == {"own"}
    house.policy = Policy(processors="acme")
    assert house.residency.permitted("acme") == {"far"}


def test_a_refusal_says_what_is_required_and_names_no_engine():
    house = House(secretname=ACME)
    house.policy = Policy(regions="eu", processors="self")
    with pytest.raises(NoEngineAllowed) as caught:
        house.permit().check("gpt-4o", "big", ("secretname",))
    assert caught.value.message == (
        "No engine of model 'gpt-4o' satisfies what this project's policy requires: region eu; processor self."
    )
    assert (caught.value.status, caught.value.code, caught.value.param) == (403, "no_engine_allowed", "model")
    assert [each[:2] for each in house.noted] == [(CALLER, "big")]
    assert not house.permit().allows("gpt-4o", "big", ("secretname",))


def test_a_key_may_use_the_models_that_its_patterns_name():
    permit = House(own=OWN).permit(Principal("acme", "k1", USUAL_SCOPES, models=("gpt-4o*", "tiny")))
    assert permit.allows("gpt-4o-mini", "big", ("own",))
    assert permit.allows("nova-3", "tiny", ("own",))
    with pytest.raises(PolicyError, match="may not use the model 'o1'"):
        permit.check("o1", "big", ("own",))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("regions", "EU"), ("regions", "eu de"), ("regions", 1), ("processors", "acme/x"), ("agreements", "nda"),
        ("max_retention", "30"), ("max_retention", "0d"), ("regions", ",".join(f"r{n}" for n in range(65))),
    ],
)  # fmt: skip
def test_invalid_requirements_are_refused_and_are_read_as_the_strictest(name, value):
    with pytest.raises(CallerError) as caught:
        parse_policy({name: value})
    assert caught.value.param == name
    policy, odd = read_policy({name: value})
    assert (getattr(policy, name), odd) == (getattr(STRICTEST, name), (name,))


def test_names_have_one_order():
    assert parse_policy({"regions": " us, eu ,eu", "agreements": "dpa,baa"}) == {
        "regions": "eu,us",
        "agreements": "baa,dpa",
    }
