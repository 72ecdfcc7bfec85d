"""What each call must hide, by its project's policy and its caller; and a model that is loaded when it is asked."""

import asyncio

import pytest

from antiphon.core.call import Call
from antiphon.core.errors import PolicyError, UnsupportedParameter
from antiphon.core.events import ChoiceEnded, FinishReason, TextDelta
from antiphon.core.identity import Principal
from antiphon.core.policy import STRICTEST, Policy, parse_policy, read_policy
from antiphon.core.redaction import ALL, Entity, Redaction, Substitution
from antiphon.core.specs import GenerateSpec, Sampling, TranscribeSpec
from antiphon.trust.redaction.requirements import Redactions, required
from antiphon.trust.redaction.tagging import LazyTagger


class Tags:
    def __init__(self):
        self.closed = False

    async def tag(self, texts):
        return [() for _ in texts]

    async def close(self):
        self.closed = True


def call(spec):
    return Call("id", Principal("acme", "key", frozenset()), "deepgram", spec)


def redactions(tagger=None, **policy):
    return Redactions(lambda project: Policy(**policy), tagger)


def test_who_asks_for_nothing_has_no_filter():
    assert redactions().filters(call(TranscribeSpec("m"))) == ()


def test_a_caller_can_only_add_to_the_policy():
    asked = Redaction(frozenset({Entity.EMAIL}), labels=((Entity.EMAIL, "MAIL"),), numbered=True)
    made = redactions(redact="card", redact_words="acme").of(call(TranscribeSpec("m", redaction=asked)))
    assert made.entities == {Entity.EMAIL, Entity.CARD}
    assert (made.labels, made.numbered, made.words) == (asked.labels, True, ("acme",))


@pytest.mark.parametrize(("least", "asked"), [("hash", "entity_name"), ("entity_name", "hash")])
def test_a_hash_is_never_made_a_name(least, asked):
    wanted = Redaction(ALL, Substitution(asked))
    policy = redactions(redact="card", redact_as=Substitution(least))
    assert policy.of(call(TranscribeSpec("m", redaction=wanted))).substitution is Substitution.HASH


def test_what_is_only_identified_is_hidden_where_the_policy_hides_it():
    wanted = Redaction(identified=ALL)
    made = redactions(redact="card").of(call(TranscribeSpec("m", redaction=wanted)))
    assert (made.entities, made.identified) == ({Entity.CARD}, ALL)


def test_words_and_patterns_alone_are_a_policy():
    assert required(Policy()) is None
    assert required(Policy(redact_words="a\nb c", redact_patterns=r"\d+x")).words == ("a", "b c")


@pytest.mark.parametrize("stored", [{"redact_words": 7}, {"redact_words": ["a"] * 99}, {"redact_patterns": ["("]}])
async def test_where_what_is_hidden_is_not_readable_every_word_is(stored):
    read, odd = read_policy(stored)
    assert odd == tuple(stored)
    policy, _ = read_policy(parse_policy(read.values()))  # as it is stored with the next change
    assert policy == read
    (redactor,) = Redactions(lambda project: policy, None).filters(call(GenerateSpec("m", "hi")))
    told = [await redactor.push((TextDelta(0, piece, 1),)) for piece in "To Zbigniew: 17, Elm St. (soon)"]
    told.append(await redactor.push((ChoiceEnded(0, FinishReason.STOP),)))
    shown = "".join(event.text for events in told for event in events if isinstance(event, TextDelta))
    assert shown.split() == ["[CUSTOM]"] * 6
    assert required(STRICTEST).patterns == (r"\S+",)


def test_names_need_a_model():
    spec = call(TranscribeSpec("m"))
    with pytest.raises(PolicyError):
        redactions(redact="name").filters(spec)
    assert redactions(Tags(), redact="name").filters(spec)
    assert redactions(redact="phone").filters(spec)


@pytest.mark.parametrize(
    ("spec", "error"),
    [
        (TranscribeSpec("m", tokens=True), UnsupportedParameter),
        (TranscribeSpec("m", language="de"), PolicyError),
        (GenerateSpec("m", "hi", sampling=Sampling(logprobs=True)), UnsupportedParameter),
    ],
)
def test_what_would_tell_what_is_hidden_is_refused(spec, error):
    with pytest.raises(error):
        redactions(redact="phone").filters(call(spec))


def test_a_caller_who_asks_for_redaction_of_another_language_is_to_blame():
    asked = TranscribeSpec("m", language="de", redaction=Redaction(frozenset({Entity.EMAIL})))
    with pytest.raises(UnsupportedParameter):
        redactions().filters(call(asked))
    with pytest.raises(PolicyError):
        redactions(redact="phone").filters(call(asked))


def test_translations_are_english():
    assert redactions(redact="phone").filters(call(TranscribeSpec("m", language="de", translate=True)))
    assert redactions(redact="phone").filters(call(TranscribeSpec("m", language="en-GB")))


async def test_a_model_is_loaded_once_and_when_it_is_asked():
    made = []
    lazy = LazyTagger(lambda: made.append(Tags()) or made[-1])
    assert not made
    await asyncio.gather(lazy.tag(["a"]), lazy.tag(["b"]))
    assert len(made) == 1
    await lazy.close()
    assert made[0].closed


async def test_a_model_that_could_not_be_loaded_is_tried_again():
    tries = []

    def load():
        tries.append(1)
        if len(tries) == 1:
            raise OSError
        return Tags()

    lazy = LazyTagger(load)
    with pytest.raises(OSError):  # noqa: PT011
        await lazy.tag(["a"])
    assert await lazy.tag(["a"]) == [()]
    await LazyTagger(Tags).close()
