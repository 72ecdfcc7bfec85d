import pytest

from antiphon.core.agreement import LocalAgreement
from antiphon.surfaces.amazon.stability import AGREEMENT, Stability


@pytest.mark.parametrize(
    ("level", "counts"),
    [(Stability.HIGH, [0, 2, 3, 4]), (Stability.MEDIUM, [0, 0, 2, 3]), (Stability.LOW, [0, 0, 0, 2])],
)
def test_words_that_go_on(level, counts):
    agreement = LocalAgreement(*AGREEMENT[level])
    said = ["a b", "a b c", "a b c d", "a b c d e"]
    assert [agreement.push(text.split()) for text in said] == counts


def test_what_was_stable_stays_so():
    agreement = LocalAgreement(*AGREEMENT[Stability.HIGH])
    for words, stable in (("a b c", 0), ("a b c", 2), ("a x c d", 2), ("a", 2), ("a x c d", 2)):
        assert agreement.push(words.split()) == stable
