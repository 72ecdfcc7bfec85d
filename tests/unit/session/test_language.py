import pytest

from antiphon.core.errors import CallerError, UnknownModel
from antiphon.core.specs import EmbedSpec, GenerateSpec
from antiphon.session.language import Languages, Served
from antiphon.testing import FakeClock, FakeEmbedder, FakeGenerator

DAY_S = 86_400


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def languages(clock):
    now_s = clock.unix_ms() // 1000
    generator = FakeGenerator()
    served = {
        "small-2025": Served("small-2025", generator, GenerateSpec, "fp_1", now_s - DAY_S, now_s + DAY_S, "small-2026"),
        "small-2026": Served("small-2026", generator, GenerateSpec, "fp_2"),
        "vectors": Served("vectors", FakeEmbedder(), EmbedSpec),
        "old": Served("old", generator, GenerateSpec, sunset_unix_s=now_s),
    }
    return Languages(served, {"small": "small-2025", "older": "old"}, clock, 1_700_000_000)


def test_an_alias_is_answered_by_a_version(languages):
    assert languages.resolve("small").version == "small-2025"
    assert languages.resolve("small-2026").version == "small-2026"


def test_an_unknown_name_is_refused_with_what_there_is(languages):
    with pytest.raises(UnknownModel, match=r"there is: small, small-2025, small-2026, vectors\.") as refusal:
        languages.resolve("large")
    assert refusal.value.param == "model"
    with pytest.raises(UnknownModel) as refusal:
        languages.resolve("x" * 10_000)
    assert len(refusal.value.message) < 200


def test_a_deprecated_version_answers_until_its_sunset(languages, clock):
    served = languages.resolve("small")
    assert served.deprecated_unix_s < served.sunset_unix_s
    clock.advance_ms(DAY_S * 1000 - 1)
    assert languages.resolve("small").version == "small-2025"
    clock.advance_ms(1)
    for name in ("small", "small-2025"):
        with pytest.raises(UnknownModel, match=r"'small-2025' has been retired. Use 'small-2026'\."):
            languages.resolve(name)


def test_a_retired_version_without_a_successor(languages):
    with pytest.raises(UnknownModel, match=r"'old' has been retired\.$"):
        languages.resolve("older")


def test_the_list_holds_versions_and_aliases_that_answer(languages, clock):
    assert [(card.name, card.local, card.created_unix_s) for card in languages.cards()] == [
        ("small", "small-2025", 1_700_000_000),
        ("small-2025", "small-2025", 1_700_000_000),
        ("small-2026", "small-2026", 1_700_000_000),
        ("vectors", "vectors", 1_700_000_000),
    ]
    clock.advance_ms(DAY_S * 1000)
    assert [card.name for card in languages.cards()] == ["small-2026", "vectors"]


def test_a_model_does_what_it_can(languages):
    assert languages.resolve("small").generator()
    assert languages.resolve("vectors").embedder()
    with pytest.raises(CallerError, match="is not a language model") as refusal:
        languages.resolve("vectors").generator()
    assert refusal.value.param == "model"
    with pytest.raises(CallerError, match="is not an embedding model"):
        languages.resolve("small").embedder()
