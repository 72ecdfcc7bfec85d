"""What a recogniser says that it can, against what callers ask: checked once, before anything opens."""

from dataclasses import replace

import pytest

from antiphon.core.call import Call
from antiphon.core.capabilities import Incapable, SpeechAbility, SpeechCapabilities, UnsupportedLanguage
from antiphon.core.conversation.spec import ConverseSpec, Transcription
from antiphon.core.errors import Unauthenticated
from antiphon.core.events import End, Final, Opened
from antiphon.core.identity import Scope
from antiphon.core.ports import Guidance
from antiphon.session.parts import OpenParts
from session_house import audio, events_of, pour

MANY = SpeechCapabilities(frozenset(("de", "en", "fr")), "", frozenset(SpeechAbility))


async def spoken(house, **spec):
    """What a stream of a second's speech says, by kind."""
    session = house.open(**spec)
    await pour(session, audio(900, 700))
    await session.feed(End())
    events = await events_of(session)
    await session.close(delivered=True)
    return events[0], [event for event in events if isinstance(event, Final)]


@pytest.mark.parametrize(
    ("spec", "error"),
    [
        ({"language": "de"}, UnsupportedLanguage),
        ({"languages": ("en", "de")}, UnsupportedLanguage),
        ({"translate": True}, Incapable),
        ({"detect": True}, Incapable),
    ],
)
async def test_what_a_recogniser_cannot_do_is_not_opened(house, spec, error):
    for _ in range(10):  # more than there are places
        with pytest.raises(error):
            house.open(**spec)
    assert not house.sessions.all


async def test_guidance_has_no_effect_on_one_that_takes_none(house):
    opened, finals = await spoken(house, prompt="Ships.", keyterms=("Antiphon",), language="en-GB")
    assert opened == Opened("tiny", unmet_speech=frozenset({SpeechAbility.GUIDANCE}), languages=("en",))
    assert finals[0].transcript.language == "en"
    assert house.recogniser.calls[-1][0].guidance == Guidance(("en",))


async def test_one_that_can_is_asked_for_all_of_it(house):
    house.recogniser.capabilities = MANY
    opened, finals = await spoken(house, prompt="Ships.", keyterms=("a",), translate=True, languages=("fr", "de"))
    assert (opened.unmet_speech, opened.languages) == (frozenset(), ("fr", "de"))
    assert house.recogniser.calls[-1][0].guidance == Guidance(("fr", "de"), True, "Ships.", ("a",))
    assert (finals[0].transcript.language, finals[0].transcript.language_confidence) == ("fr", 0.75)


async def test_without_a_language_it_may_be_any(house):
    house.recogniser.capabilities = MANY
    opened, _ = await spoken(house)
    assert opened.languages == ("de", "en", "fr")
    assert house.recogniser.calls[-1][0].guidance == Guidance()


def test_a_conversation_is_checked_before_it_changes(house):
    asked = ConverseSpec(answers=False, transcription=Transcription("nova-3", "en-US"))
    parts = OpenParts(house.sessions, Call("c", house.principal, "openai", asked))
    parts.check(asked)
    for heard in (Transcription("nova-3", "de"), Transcription("nova-3", languages=("en", "de"))):
        with pytest.raises(UnsupportedLanguage):
            parts.check(replace(asked, transcription=heard))
    house.recogniser.capabilities = MANY
    parts.check(replace(asked, transcription=Transcription("nova-3", "de")))


def test_a_models_card_has_its_languages(house):
    kinds = {served.serves for served in house.served.values()}
    cards = {card.name: card.languages for card in house.catalogue.cards(kinds)}
    assert (cards["nova-3"], cards["counter"]) == (("en",), ())


def test_who_administers_has_the_key_itself(house):
    assert house.door.administer("secret", Scope.TRANSCRIBE, "") == house.principal
    token = house.sessions.secrets.mint(house.principal, "deepgram", b"", 60, once=False)
    with pytest.raises(Unauthenticated):
        house.door.administer(token.secret, None, "")
