"""What callers call a language, and what engines do."""

import pytest

from antiphon.core import languages


@pytest.mark.parametrize(
    ("tag", "expected"),
    [
        *(("en", "en"), ("en-US", "en"), ("EN_us", "en"), ("de-CH-1996", "de"), ("zh-Hans-CN", "zh"), ("nb", "no")),
        *(("fil-PH", "tl"), ("iw", "he"), ("jw", "jv"), ("zh-HK", "yue"), ("cmn", "zh")),
        *(("", None), ("english", None), ("xx", None), ("en-", None), ("en\n", None), ("en-abcdefghi", None)),
    ],
)
def test_a_tag_stands_for_a_language_of_the_model(tag: str, expected: str | None) -> None:
    assert languages.match_language(tag, languages.NAMES) == expected


def test_cantonese_is_chinese_to_a_model_that_does_not_know_it_apart() -> None:
    assert languages.match_language("zh-HK", {"en", "zh"}) == "zh"
    assert languages.match_language("yue", {"en", "zh"}) is None


def test_names_are_english() -> None:
    assert (languages.name("en"), languages.name("de"), languages.name("tlh")) == ("english", "german", "tlh")
