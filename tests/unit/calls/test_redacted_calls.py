"""Calls of a project that requires redaction: what is told, what is charged, and that no way leads around it."""

import io
import uuid
import wave
from dataclasses import replace

import pytest
from test_filters import speaks

from antiphon.core.audio import Codec
from antiphon.core.call import Call
from antiphon.core.errors import InternalError, PolicyError
from antiphon.core.events import Audio, Closed, End, Failed, Final, Interim, TextDelta
from antiphon.core.identity import USUAL_SCOPES, Principal
from antiphon.core.policy import Policy, PromptPolicy
from antiphon.core.redaction import Cover, RedactedAudio
from antiphon.core.specs import EmbedSpec, InferSpec, Message, Role
from antiphon.trust.redaction.requirements import Redactions
from session_house import audio, events_of

SAID = "my number is four one five five five five oh one three two"


def requires(house, tagger=None, **policy):
    house.filters = Redactions(lambda project: Policy(**policy), tagger).filters


def samples(copy):
    with wave.open(io.BytesIO(copy)) as file:
        return file.readframes(file.getnframes())


@pytest.mark.parametrize("live", [True, False])
async def test_a_transcript_is_redacted_and_the_ledger_knows(house, live):
    requires(house, redact="phone")
    house.recogniser.hear = lambda utterance: SAID
    session = house.open(live=live, interims=live)
    if live:
        await session.feed(Audio(audio(1500, 700)))
        await session.feed(End())
    else:
        await session.play(audio(1500, 700))
    events = await events_of(session)
    heard = [event for event in events if isinstance(event, Interim | Final)]
    assert any(isinstance(event, Final) for event in heard)
    assert all("five" not in event.transcript.text for event in heard)
    assert heard[-1].transcript.text == "my number is [PHONE]"
    await session.close(delivered=True)
    assert {entry.feature for entry in house.ledger.entries} == {f"{'live' if live else 'recording'}+redact"}


@pytest.mark.parametrize("redact", ["phone", ""])
async def test_a_copy_of_a_recording_does_not_have_what_is_hidden(house, redact):
    """The words fill the speech evenly, so the number is its second half. Without redaction there is no copy."""
    requires(house, redact=redact)
    house.recogniser.hear = lambda utterance: SAID
    wanted = RedactedAudio(Codec.LINEAR16, Cover.SILENCE)
    session = house.open(live=False, word_times=True, redacted_audio=wanted)
    await session.play(audio(1500, 700))
    events = await events_of(session)
    assert isinstance(events[-1], Closed)
    copy = events[-1].redacted_audio
    assert bool(copy) is bool(redact)
    if redact:
        (final,) = (event for event in events if isinstance(event, Final))
        (number,) = final.transcript.entities
        assert number.hidden
        pcm = samples(copy)
        assert any(pcm[: 32 * (number.start_ms - 60)])
        assert not any(pcm[32 * number.start_ms : 32 * number.end_ms])
    await session.close(delivered=True)


async def test_hidden_text_without_times_covers_its_utterance(house):
    requires(house, redact="phone")
    house.recogniser.hear = lambda utterance: SAID
    wanted = RedactedAudio(Codec.LINEAR16, Cover.SILENCE)
    session = house.open(live=False, word_times=False, redacted_audio=wanted)
    await session.play(audio(1500, 700))
    closed = (await events_of(session))[-1]
    pcm = samples(closed.redacted_audio)
    assert len(pcm) == 32 * 2_200
    assert not any(pcm[: 32 * 1_500])
    await session.close(delivered=True)


@pytest.mark.parametrize("stream", [True, False])
async def test_an_answer_is_redacted_and_charged_whole(house, stream):
    requires(house, redact="email,phone")
    house.generator.script = speaks("Write to maria.san", "tos@example.org or call 415", "-555-0132 now.")
    generation = house.generate(stream=stream)
    events = await events_of(generation)
    text = "".join(event.text for event in events if isinstance(event, TextDelta))
    assert text == "Write to [EMAIL] or call [PHONE] now."
    assert sum(event.tokens for event in events if isinstance(event, TextDelta)) == 9
    await generation.close(delivered=True)


def test_where_names_cannot_be_found_no_call_is_let_in(house):
    requires(house, redact="name")
    with pytest.raises(PolicyError):
        house.generate()


class Broken:
    async def tag(self, texts):
        raise RuntimeError(texts)


async def test_a_model_that_fails_ends_the_call_and_says_nothing(house, caplog):
    requires(house, Broken(), redact="name")
    house.generator.script = speaks("Ask Zbig", "niew about it.")
    generation = house.generate(stream=True)
    events = await events_of(generation)
    assert isinstance(events[-1], Failed)
    assert type(events[-1].error) is InternalError
    assert not any(isinstance(event, TextDelta) for event in events)
    assert "Zbig" not in caplog.text
    await generation.close(delivered=True)


PROMPT = "Call Ana at 415-555-0132."


def elsewhere(house, name):
    house.served[name] = replace(house.served[name], by_others=True)


@pytest.mark.parametrize(
    ("prompts", "far", "asked", "answer"),
    [
        ("plain", True, PROMPT, "I call [PHONE]."),
        ("redacted", True, "Call Ana at [PHONE_1].", "I call [PHONE_1]."),
        ("restored", True, "Call Ana at [PHONE_1].", "I call 415-555-0132."),
        ("redacted", False, PROMPT, "I call [PHONE]."),
    ],
)
@pytest.mark.parametrize("stream", [True, False])
async def test_what_an_engine_elsewhere_gets_and_what_comes_back(house, prompts, far, asked, answer, stream):
    requires(house, redact="phone", prompts=PromptPolicy(prompts))
    if far:
        elsewhere(house, "counter-2026")
    got = []

    def script(spec):
        (message,) = spec.prompt
        got.append(message.text)
        return speaks("I call", message.text.removeprefix("Call Ana at"))(spec)

    house.generator.script = script
    generation = house.generate(stream=stream, prompt=(Message(Role.USER, PROMPT),))
    events = await events_of(generation)
    assert got == [asked]
    assert "".join(event.text for event in events if isinstance(event, TextDelta)) == answer
    await generation.close(delivered=True)


async def test_texts_to_embed_are_redacted_and_tensors_are_not_sent(house):
    requires(house, redact="phone", prompts=PromptPolicy.REDACTED)
    for name in ("vectors-2026", "tensors-2026"):
        elsewhere(house, name)
    got = []
    embed = house.embedder.embed

    async def seen(texts, call):
        got.append(texts)
        return await embed(texts, call)

    house.embedder.embed = seen
    embedding = house.sessions.answer(asking(EmbedSpec("vectors", (PROMPT, "nothing"))), None)
    assert not isinstance((await events_of(embedding))[-1], Failed)
    assert got == [("Call Ana at [PHONE_1].", "nothing")]
    inference = house.sessions.answer(asking(InferSpec("tensors", ())), None)
    last = (await events_of(inference))[-1]
    assert isinstance(last, Failed)
    assert isinstance(last.error, PolicyError)
    for each in (embedding, inference):
        await each.close(delivered=True)


def asking(spec):
    return Call(str(uuid.uuid4()), Principal("acme", "k1", USUAL_SCOPES), "openai", spec)


async def test_a_prompt_that_cannot_be_redacted_is_not_sent_and_costs_nothing(house):
    """There is no model that finds names, and answers need none."""
    requires(house, prompts=PromptPolicy.REDACTED)
    elsewhere(house, "counter-2026")
    house.generator.script = None
    generation = house.generate(stream=True)
    events = await events_of(generation)
    assert isinstance(events[-1], Failed)
    assert isinstance(events[-1].error, PolicyError)
    await generation.close(delivered=True)
    assert sum(entry.amount for entry in house.ledger.entries) == 0
