import pytest

from antiphon.catalogue.catalogue import ANSWERS, Catalogue
from antiphon.catalogue.language import Served
from antiphon.core.errors import CallerError, UnknownModel
from antiphon.core.specs import EmbedSpec, GenerateSpec
from antiphon.testing import FakeEmbedder, FakeGenerator

DAY_S = 86_400


@pytest.fixture
def catalogue(clock):
    now_s = clock.unix_ms() // 1000
    generator = FakeGenerator()
    served = {
        "small-2025": Served("small-2025", generator, GenerateSpec, "fp_1", now_s - DAY_S, now_s + DAY_S, "small-2026"),
        "small-2026": Served("small-2026", generator, GenerateSpec, "fp_2"),
        "vectors": Served("vectors", FakeEmbedder(), EmbedSpec),
        "old": Served("old", generator, GenerateSpec, sunset_unix_s=now_s),
    }
    return Catalogue(served, {"small": "small-2025", "older": "old"}, clock, 1_700_000_000)


def test_an_alias_is_answered_by_a_version(catalogue):
    assert catalogue.resolve("small", ANSWERS).version == "small-2025"
    assert catalogue.resolve("small-2026", ANSWERS).version == "small-2026"


def test_an_unknown_name_is_refused_with_what_there_is(catalogue):
    with pytest.raises(UnknownModel, match=r"Available: small, small-2025, small-2026, vectors\.") as refusal:
        catalogue.resolve("large", ANSWERS)
    assert refusal.value.param == "model"
    with pytest.raises(UnknownModel) as refusal:
        catalogue.resolve("x" * 10_000, ANSWERS)
    assert len(refusal.value.message) < 200


def test_a_deprecated_version_answers_until_its_sunset(catalogue, clock):
    served = catalogue.resolve("small", ANSWERS)
    assert served.deprecated_unix_s < served.sunset_unix_s
    clock.advance_ms(DAY_S * 1000 - 1)
    assert catalogue.resolve("small", ANSWERS).version == "small-2025"
    clock.advance_ms(1)
    for name in ("small", "small-2025"):
        with pytest.raises(UnknownModel, match=r"'small-2025' has been retired. Use 'small-2026'\."):
            catalogue.resolve(name, ANSWERS)


def test_a_retired_version_without_a_successor(catalogue):
    with pytest.raises(UnknownModel, match=r"'old' has been retired\.$"):
        catalogue.resolve("older", ANSWERS)


def test_the_list_holds_versions_and_aliases_that_answer(catalogue, clock):
    assert [(card.name, card.local, card.created_unix_s) for card in catalogue.cards(ANSWERS)] == [
        ("small", "small-2025", 1_700_000_000),
        ("small-2025", "small-2025", 1_700_000_000),
        ("small-2026", "small-2026", 1_700_000_000),
        ("vectors", "vectors", 1_700_000_000),
    ]
    clock.advance_ms(DAY_S * 1000)
    assert [card.name for card in catalogue.cards(ANSWERS)] == ["small-2026", "vectors"]


def test_a_model_does_what_it_can(catalogue):
    assert catalogue.resolve("small", ANSWERS).generator()
    assert catalogue.resolve("vectors", ANSWERS).embedder()
    with pytest.raises(CallerError, match="is not a language model") as refusal:
        catalogue.resolve("vectors", ANSWERS).generator()
    assert refusal.value.param == "model"
    with pytest.raises(CallerError, match="is not an embedding model"):
        catalogue.resolve("small", ANSWERS).embedder()
