"""Profiles: the least that a project's policy has."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.core.errors import CallerError
from antiphon.core.policy import DISCLOSURE, Marking, Policy, TagPolicy
from antiphon.testing import FakeClock, FakeDirectory
from antiphon.trust.auth import KeyRing
from antiphon.trust.control import Control
from antiphon.trust.profiles import EU, HIPAA, PROFILES, STRICT, Profiles, strengthened
from antiphon.trust.residency import failures, requirement_of

POLICIES = st.builds(
    Policy,
    keep_answers_s=st.integers(0, 10),
    marking=st.sampled_from(Marking),
    tags=st.sampled_from(TagPolicy),
    regions=st.sampled_from(["", "eu", "eu-de", "eu-de,us", "us", "e"]),
    processors=st.sampled_from(["", "self", "acme", "acme,self"]),
    agreements=st.sampled_from(["", "baa", "dpa", "baa,dpa"]),
    max_retention=st.sampled_from(["", "none", "30d"]),
)


@given(POLICIES, st.sampled_from(list(PROFILES.values())))
def test_a_strengthened_policy_is_at_least_as_strict_as_both(policy, profile):
    from antiphon.core.place import Agreement, Processing

    stronger = strengthened(policy, profile)
    assert strengthened(stronger, profile) == stronger
    floor = Policy(**dict(profile.fields))
    for region in ("eu-de", "eu-fr", "us", "e-1", ""):
        for processor in ("self", "acme", ""):
            for agreements in ({}, {Agreement.BAA: None}, {Agreement.DPA: None}, dict.fromkeys(Agreement)):
                place = Processing(region, processor, agreements, 0)
                from datetime import date

                unmet = [
                    bool(failures(requirement_of(each), place, date(2026, 1, 1))) for each in (policy, floor, stronger)
                ]
                assert unmet[2] == (unmet[0] or unmet[1])
    assert stronger.keep_answers_s <= policy.keep_answers_s
    assert stronger.tags is policy.tags or policy.tags is TagPolicy.PLAIN or stronger.tags is TagPolicy.NONE


def test_what_the_profiles_require():
    assert (
        strengthened(Policy(keep_answers_s=9, tags=TagPolicy.PLAIN), STRICT).values()
        == Policy(tags=TagPolicy.NONE, processors="self", max_retention="none").values()
    )
    assert strengthened(Policy(tags=TagPolicy.PLAIN), HIPAA) == Policy(agreements="baa")
    assert strengthened(Policy(regions="eu-de,us"), EU) == Policy(
        regions="eu-de", agreements="dpa", disclosure=DISCLOSURE
    )
    assert strengthened(Policy(disclosure="Sie sprechen mit einer KI."), EU).disclosure == "Sie sprechen mit einer KI."
    assert strengthened(Policy(disclosure=" "), EU).disclosure == DISCLOSURE
    assert strengthened(Policy(regions="us"), EU).regions == "nowhere"
    assert strengthened(Policy(processors="acme"), STRICT).processors == "nobody"


def control(**profiles):
    directory = FakeDirectory()
    return Control(directory, profiles=Profiles(**profiles)), directory


def test_a_new_project_begins_with_a_profile_and_may_leave_it():
    made, _ = control(new=STRICT)
    made.prepare(None, 1)
    assert made.find_project("default").policy.processors == "self"
    project = made.create_project("acme", "", 1, processors="")
    assert (project.policy.processors, project.policy.max_retention, project.policy.tags) == ("", "none", "none")
    assert made.change_project("acme", 2, tags="plain").policy.tags is TagPolicy.PLAIN


def test_what_a_projects_profile_requires_cannot_be_weakened_and_is_in_force():
    made, directory = control(projects={"clinic": HIPAA})
    with pytest.raises(CallerError, match="profile 'hipaa' of project clinic requires 'hashed'") as caught:
        made.create_project("clinic", "", 1, tags="plain")
    assert caught.value.param == "tags"
    made.create_project("clinic", "", 1)
    with pytest.raises(CallerError, match="requires 'baa,dpa'"):
        made.change_project("clinic", 2, agreements="dpa")
    made.change_project("clinic", 2, agreements="baa,dpa", tags="none")
    ring = KeyRing(directory, FakeClock(), made.profiles)
    assert ring.policy("clinic").agreements == "baa,dpa"
    assert ring.policy("elsewhere").regions == "nowhere"
    directory.set_policy("clinic", {"agreements": "", "tags": "plain"})
    ring._poll()
    assert (ring.policy("clinic").agreements, ring.policy("clinic").tags) == ("baa", "hashed")
