"""The model that finds names and places, on sentences of our own."""

import asyncio
from itertools import pairwise

import pytest

from antiphon.core.errors import EngineError
from antiphon.core.redaction import ALL, Entity, Redaction
from antiphon.engines.rampart import OVERLAP, WINDOW, Rampart, windows
from antiphon.trust.redaction.finding import find
from redaction_sentences import by_hand, score, sentences


@pytest.fixture(scope="module")
def rampart(models):
    return Rampart(models.path("rampart"), threads=1)


def hidden(rampart, texts):
    tags = asyncio.run(rampart.tag(texts))
    spans = (find(text, Redaction(ALL), tagged) for text, tagged in zip(texts, tags, strict=True))
    return [[(span.start, span.end) for span in each] for each in spans]


def test_names_and_places_are_found_cased_and_not(rampart):
    made = [*sentences(rounds=2, seed=3), *by_hand()]
    scores, wrong = score(made, hidden(rampart, [sentence.text for sentence in made]))
    named = [each for (_, what), each in scores.items() if what == "names"]
    assert sum(each.whole for each in named) >= 0.9 * sum(each.all for each in named)
    assert scores["by hand", "structured"].whole >= 0.95 * scores["by hand", "structured"].all
    assert wrong <= 0.01


def test_a_long_text_is_read_in_windows(rampart):
    filler = "and then we walked along the river for a while without a word. "
    text = filler * 20 + "My name is Daniel Okafor. " + filler * 20
    (spans,) = asyncio.run(rampart.tag([text]))
    assert [text[span.start : span.end] for span in spans if Entity.NAME in span.kinds] == ["Daniel Okafor"]


def test_windows_overlap_and_leave_nothing_out():
    for text in ("", "word " * 500, "x" * 2000, "a" * WINDOW):
        parts = list(windows(text))
        assert parts[0][0] == 0
        assert parts[-1][1] == len(text)
        for (_, end), (start, _) in pairwise(parts):
            assert start < end
            assert end - start <= OVERLAP


def test_what_is_no_model(tmp_path):
    with pytest.raises(EngineError):
        Rampart(tmp_path, threads=1)
