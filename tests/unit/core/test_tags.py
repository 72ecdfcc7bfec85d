"""The tags that come with any call."""

import pytest

from antiphon.core.errors import CallerError
from antiphon.core.labels import labels_of
from antiphon.core.policy import TagPolicy
from antiphon.core.tags import CONSENT, NAME, SUBJECT, take_tags, value_of
from antiphon.core.wire import Opening


def opening(header=None, *query):
    return Opening("GET", "/", query, {} if header is None else {NAME: header})


@pytest.mark.parametrize(
    ("sent", "tags"),
    [
        (opening(), ()),
        (opening(""), ()),
        (opening("subject=jane"), ("subject=jane",)),
        (opening(" subject=jane%20roe , consent=a%2Cb,plain "), ("subject=jane roe", "consent=a,b", "plain")),
        (opening("a=1", (NAME, "b=2"), ("model", "m")), ("b=2", "a=1")),
    ],
)
def test_tags_of_header_and_query(sent, tags):
    left, found = take_tags(sent)
    assert found == tags
    assert NAME not in dict(left.query)
    assert [pair for pair in sent.query if pair[0] != NAME] == list(left.query)


@pytest.mark.parametrize("header", ["a,b,c,d,e,f,g,h,i", "x" * 257, "a=%00", "a=%0Ab"])
def test_tags_that_are_too_many_too_long_or_no_text(header):
    with pytest.raises(CallerError) as raised:
        take_tags(opening(header))
    assert raised.value.param == NAME


def test_the_first_value_counts():
    tags = ("subjects=x", "subject=jane", "subject=john", "consent")
    assert (value_of(tags, SUBJECT), value_of(tags, CONSENT)) == ("jane", "")


@pytest.mark.parametrize("policy", TagPolicy)
def test_the_ledger_never_has_the_subject(policy):
    labels = labels_of(("subject=jane", "consent=v1"), policy, b"k" * 32)
    assert len(labels) == (policy is not TagPolicy.NONE)
    assert not any("jane" in label or label.startswith("subject=") for label in labels)
