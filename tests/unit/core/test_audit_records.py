"""Records of the audit log in their one form."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.core.audit import MAX_TEXT, Action, AuditRecord, Outcome, canonical, difference, parse, policy_version
from antiphon.core.policy import Policy, TagPolicy

RECORD = AuditRecord(
    1_767_225_600_000, Action.ACCESS, Outcome.REFUSED, "k1", "acme", "/v1/listen", "policy", "192.0.2.0/24", "r1", "p1",
    (("times", 3), ("ages", 1)),
)  # fmt: skip
TEXTS = st.text(max_size=20)


def test_the_bytes_of_a_record_are_known():
    assert canonical(RECORD) == (
        b'{"action":"access","actor":"k1","address":"192.0.2.0/24","at_unix_ms":1767225600000,"counts":{"ages":1,'
        b'"times":3},"object":"/v1/listen","outcome":"refused","policy":"p1","project":"acme","reason":"policy",'
        b'"request":"r1","v":1}'
    )
    short = AuditRecord(1, Action.SERVER_START, Outcome.DONE)
    assert canonical(short) == b'{"action":"server.start","at_unix_ms":1,"outcome":"done","v":1}'


@given(TEXTS, TEXTS, TEXTS, st.integers(0, 2**53), st.dictionaries(TEXTS, st.integers(-5, 5), max_size=3))
def test_a_record_comes_back_from_its_bytes_and_has_no_other(actor, object, reason, at, counts):
    record = AuditRecord(
        at, Action.KEY_CREATE, Outcome.DONE, actor, "p", object, reason, counts=tuple(sorted(counts.items()))
    )
    body = canonical(record)
    assert parse(body) == record
    said = json.loads(body)
    assert json.dumps(said, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode() == body


def test_texts_are_bounded_and_never_fail():
    assert len(parse(canonical(RECORD._replace(reason="é" * 10_000))).reason) == MAX_TEXT
    assert parse(canonical(RECORD._replace(object="\ud800"))).object == "?"


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"v":2}', b'{"v":1}', b'{"v":1,"mood":"blue"}', b'{"v":1,"counts":[1]}']
)
def test_what_is_no_record_is_refused(body):
    with pytest.raises(ValueError):  # noqa: PT011
        parse(body)


def test_of_a_change_no_text_is_shown():
    before, after = (
        {"weight": 1, "words": "", "tags": TagPolicy.NONE},
        {"weight": 3, "words": "siobhan", "tags": "plain"},
    )
    assert difference(before, after) == "tags: none -> (text), weight: 1 -> 3, words: (text) -> (text)"
    assert difference(before, before) == ""


def test_policies_have_versions():
    assert policy_version(Policy()) == policy_version(Policy())
    assert policy_version(Policy(weight=2)) != policy_version(Policy())
