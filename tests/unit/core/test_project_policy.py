"""A policy's fields are the same wherever it is parsed, stored and shown."""

import inspect
from dataclasses import fields

import pytest

from antiphon.admin.messages import ProjectAnswer, ProjectChange
from antiphon.cli import projects
from antiphon.core.errors import CallerError
from antiphon.core.policy import STRICTEST, Marking, Policy, PromptPolicy, TagPolicy, parse_policy, read_policy
from antiphon.core.redaction import ALL, Substitution

NAMES = {each.name for each in fields(Policy)}


def test_every_field_can_be_set_and_is_shown_everywhere():
    assert set(ProjectChange.model_fields) == NAMES
    assert set(ProjectAnswer.model_fields) == NAMES | {"id", "name", "created_unix_ms"}
    for command in (projects.create, projects.change):
        options = {name.replace("keep_answers", "keep_answers_s") for name in inspect.signature(command).parameters}
        assert options >= NAMES
    assert len(projects._shown(Policy())) == len(NAMES)


def test_what_is_stored_is_read_as_it_was():
    policy = Policy(
        keep_answers_s=60,
        marking=Marking.SIGNED,
        weight=7,
        tags=TagPolicy.PLAIN,
        redact="card,name",
        redact_as=Substitution.HASH,
        redact_words="blue moon\nacme",
        redact_patterns=r"case \d+",
        prompts=PromptPolicy.RESTORED,
        stripe_customer="cus_1",
        budgets="monthly money 50.00 month\nminutes audio_ms 36000 day soft key=K1",
        limits="requests_per_minute=60",
        models="gpt-*,nova-3",
        regions="eu,uk",
        processors="acme,self",
        agreements="baa,dpa",
        max_retention="30d",
    )
    assert read_policy(parse_policy(policy.values())) == (policy, ())
    assert read_policy({}) == (Policy(), ())


@pytest.mark.parametrize("value", [None, [], {}, 1.0, True, "teleport", 2**70, -1])
def test_a_value_without_sense_is_the_strictest_and_cannot_be_set(value):
    # Any text is a word to hide, or to say, or may be the name of a region or of somebody.
    texts = {"redact_words", "redact_patterns", "disclosure", "organisation", "regions", "processors", "models"}
    if not isinstance(value, str):
        texts = set()
    for name in NAMES - texts:
        assert getattr(read_policy({name: value})[0], name) == getattr(STRICTEST, name)
        with pytest.raises(CallerError) as refused:
            parse_policy({name: value})
        assert refused.value.param == name


def test_what_is_hidden_can_be_said_in_any_order_and_all_at_once():
    assert parse_policy({"redact": " phone, card "}) == {"redact": "card,phone"}
    assert parse_policy({"redact": "all"}) == {"redact": ",".join(sorted(ALL))}
    assert STRICTEST.redact == ",".join(sorted(ALL))
    assert parse_policy({"redact_words": ["blue moon", " acme "]}) == {"redact_words": "blue moon\nacme"}


@pytest.mark.parametrize("pattern", ["(", "(a+)+b", "x" * 201, "a{4294967296}"])
def test_a_pattern_that_is_none_or_could_take_for_ever_cannot_be_set(pattern):
    with pytest.raises(CallerError):
        parse_policy({"redact_patterns": pattern})
    assert "redact_patterns" in read_policy({"redact_patterns": pattern})[1]


@pytest.mark.parametrize("end", ["\n", "\r", "\x0b", "\x85", "\u2028"])
def test_a_line_of_a_list_is_one_line_however_it_is_read_again(end):
    with pytest.raises(CallerError):
        parse_policy({"redact_words": [f"blue{end}moon"]})


def test_a_field_that_is_not_known_grants_nothing_breaks_nothing_and_cannot_be_set():
    assert read_policy({"weight": 3, "mood": {"may": "all"}}) == (Policy(weight=3), ("mood",))
    with pytest.raises(CallerError):
        parse_policy({"mood": 1})
