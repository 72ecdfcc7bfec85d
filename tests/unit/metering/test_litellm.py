"""LiteLLM's table of prices becomes a price book; what it cannot express is said, model by model."""

import json
from fractions import Fraction

import pytest

from antiphon.core.errors import CallerError
from antiphon.metering.pricing.book import NANO
from antiphon.metering.pricing.litellm import convert
from antiphon.metering.pricing.parse import parse_book

# As such a file is written: floats, some with noise, some with a zero for what is not charged.
TABLE = """{
  "sample_spec": {"input_cost_per_token": 1e-6, "mode": "chat"},
  "small": {"mode": "chat", "input_cost_per_token": 1.25e-06, "output_cost_per_token": 1e-05,
            "cache_read_input_token_cost": 1.25e-07, "max_tokens": 8192},
  "thinker": {"mode": "chat", "input_cost_per_token": 1e-06, "output_cost_per_token": 2e-06,
              "output_cost_per_reasoning_token": 3e-06, "input_cost_per_token_above_200k_tokens": 2e-06,
              "search_context_cost_per_query": {"search_context_size_low": 0.03}},
  "noise": {"mode": "embedding", "input_cost_per_token": 1.0000000000000003e-07, "output_cost_per_token": 0.0},
  "deepgram/nova-3": {"mode": "audio_transcription", "input_cost_per_second": 7.167e-05, "output_cost_per_second": 0.0,
                      "metadata": {"original_pricing_per_minute": 0.0043}},
  "whisper-1": {"mode": "audio_transcription", "input_cost_per_second": 0.0001, "output_cost_per_second": 0.0001},
  "output-only": {"mode": "audio_transcription", "input_cost_per_second": 0.0, "output_cost_per_second": 0.0002},
  "tts-1": {"mode": "audio_speech", "input_cost_per_character": 1.5e-05},
  "tts-1 ": {"mode": "audio_speech", "output_cost_per_second": 0.0002},
  "painter": {"mode": "image_generation", "output_cost_per_image": 0.04},
  "nothing": {"mode": "chat"},
  "azure/*": {"mode": "chat", "input_cost_per_token": 1e-06}
}"""


def converted(table=TABLE, **more):
    options = {"book": "litellm", "version": "1", "since": "2026-01-01", "currency": "USD"} | more
    return convert(table.encode(), **options)


def prices(model):
    book = parse_book(converted().text.encode(), "made")
    return {
        dimension: price.tiers[0].nano / NANO
        for price in book.prices
        if price.models == (model,)
        for dimension in price.dimensions
    }


def test_tokens_are_priced_exactly_and_what_is_not_there_as_what_it_is_of():
    assert prices("small") == {
        "llm.input_tokens": Fraction("0.00000125"),
        "llm.cached_input_tokens": Fraction("0.000000125"),
        "llm.output_tokens": Fraction("0.00001"),
        "llm.reasoning_tokens": Fraction("0.00001"),
    }
    assert prices("thinker")["llm.cached_input_tokens"] == prices("thinker")["llm.input_tokens"]
    assert prices("thinker")["llm.reasoning_tokens"] == Fraction("0.000003")


def test_the_listed_price_goes_before_the_divided_one():
    assert prices("deepgram/nova-3") == {"stt.audio_ms": Fraction("0.0043") / 60_000}


@pytest.mark.parametrize(("model", "per_second"), [("whisper-1", "0.0001"), ("output-only", "0.0002")])
def test_a_price_that_stands_as_input_and_as_output_counts_once(model, per_second):
    assert prices(model) == {"stt.audio_ms": Fraction(per_second) / 1_000}


def test_speech_is_charged_by_characters_or_by_its_length_never_unsaid():
    assert prices("tts-1") == {"tts.characters": Fraction("0.000015"), "tts.audio_ms": 0}
    assert prices("tts-1 ") == {"tts.characters": 0, "tts.audio_ms": Fraction("0.0000002")}


def test_what_cannot_be_expressed_is_said():
    made = converted()
    assert prices("noise") == {"embedding.input_tokens": Fraction("0.0000001")}
    assert made.notes == (
        "azure/*: not imported: its name has a *",
        "noise: input_cost_per_token = 1.0000000000000003E-7 is taken for 1.00000000000E-7",
        "nothing: not imported: the table has no price for it",
        "painter: not imported: output_cost_per_image",
        "thinker: incomplete, without input_cost_per_token_above_200k_tokens, search_context_cost_per_query",
    )
    assert made.summary.startswith("8 of 11 models imported, 1 of them incomplete")
    assert "incomplete, without input_cost_per_token_above_200k_tokens" in made.text


def test_only_models_that_were_asked_for():
    assert converted(models="deepgram/").summary.startswith("1 of 1 models")


@pytest.mark.parametrize("table", ["[]", "{", json.dumps("x")])
def test_what_is_no_table_is_refused(table):
    with pytest.raises(CallerError, match="the table is"):
        converted(table)
