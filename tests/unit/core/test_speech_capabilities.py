"""What a transcription needs of its engine, against what that can do."""

from dataclasses import replace

import pytest

from antiphon.core.capabilities import (
    Incapable,
    SpeechAbility,
    SpeechCapabilities,
    UnsupportedLanguage,
    settle_speech,
)
from antiphon.core.specs import TranscribeSpec

ASKED = TranscribeSpec("ears")
ENGLISH = SpeechCapabilities()
MANY = SpeechCapabilities(frozenset(("de", "en", "fr")), "", frozenset(SpeechAbility))
GERMAN = replace(MANY, language="de")


@pytest.mark.parametrize(
    ("engine", "language", "hints", "heard"),
    [
        (ENGLISH, "", (), ("en",)),
        (ENGLISH, "en-GB", (), ("en",)),
        (ENGLISH, "", ("en", "en-US"), ("en",)),
        (MANY, "", (), ()),
        (MANY, "fr-CA", ("de",), ("fr",)),
        (MANY, "", ("de-DE", "fr", "de"), ("de", "fr")),
        (GERMAN, "", (), ("de",)),
        (GERMAN, "", ("fr", "en"), ("fr", "en")),
        (GERMAN, "en", (), ("en",)),
    ],
)
def test_which_languages_may_be_heard(
    engine: SpeechCapabilities, language: str, hints: tuple[str, ...], heard: tuple[str, ...]
) -> None:
    spec, unmet = settle_speech(replace(ASKED, language=language, languages=hints), engine)
    assert (spec.languages, unmet) == (heard, frozenset())


def test_what_must_be_found_out_is_not_the_engines_own_language() -> None:
    assert settle_speech(replace(ASKED, detect=True), GERMAN)[0].languages == ()


@pytest.mark.parametrize(
    ("spec", "param"),
    [(replace(ASKED, language="es"), "language"), (replace(ASKED, languages=("en", "es")), "languages")],
)
def test_another_language_is_refused(spec: TranscribeSpec, param: str) -> None:
    for engine in (ENGLISH, MANY):
        with pytest.raises(UnsupportedLanguage) as refused:
            settle_speech(spec, engine)
        assert (refused.value.language, refused.value.param) == ("es", param)
        assert refused.value.languages == tuple(sorted(engine.languages))


@pytest.mark.parametrize(
    ("spec", "ability"),
    [(replace(ASKED, translate=True), "translate"), (replace(ASKED, detect=True), "detect_language")],
)
def test_what_it_cannot_do_is_refused(spec: TranscribeSpec, ability: str) -> None:
    settle_speech(spec, MANY)
    with pytest.raises(Incapable) as refused:
        settle_speech(spec, ENGLISH)
    assert (refused.value.ability, refused.value.model) == (ability, "ears")


def test_guidance_has_no_effect_where_there_is_none() -> None:
    guided = replace(ASKED, prompt="Ships.", keyterms=("Antiphon",))
    spec, unmet = settle_speech(guided, ENGLISH)
    assert (spec.prompt, spec.keyterms, unmet) == ("", (), {SpeechAbility.GUIDANCE})
    spec, unmet = settle_speech(guided, MANY)
    assert (spec.prompt, spec.keyterms, unmet) == ("Ships.", ("Antiphon",), frozenset())
