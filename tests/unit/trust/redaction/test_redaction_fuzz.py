"""What must be hidden, cut at any position over interims, finals, deltas and utterances: it is in nothing that leaves.

`ANTIPHON_CUTS` is how many transcripts there are; `make redactions` has many.
"""

import os
import random

import pytest

from antiphon.core.events import Cause, Final, Interim, TextDelta, Transcript, Word
from antiphon.core.redaction import ALL, Redaction
from antiphon.trust.redaction.filtering import Redactor
from redaction_sentences import Sentence, sentences

CUTS = int(os.environ.get("ANTIPHON_CUTS", "1200"))
WANTED = Redaction(ALL)
OF_A_MODEL = ("PERSON", "LOCATION")  # which is asked elsewhere
SHOWN_DIGITS = 4  # of a number, in one row, that nothing shows


def squashed(text: str) -> str:
    return "".join(char for char in text.lower() if char.isalnum())


def leaks(secret: str, shown: str) -> bool:
    """Whether the secret can be read, or enough of its digits in a row."""
    if squashed(secret) in squashed(shown):
        return True
    digits, seen = "".join(filter(str.isdigit, secret)), "".join(char if char.isdigit() else " " for char in shown)
    return len(digits) > SHOWN_DIGITS and any(row in digits for row in seen.split() if len(row) >= SHOWN_DIGITS)


def transcript(words: list[str]) -> Transcript:
    timed = tuple(Word(word, 100 * n, 100 * n + 90, 0.9) for n, word in enumerate(words))
    return Transcript(" ".join(words), 0.9, timed)


async def spoken(sentence: Sentence, cut: int) -> list[str]:
    """Every text that is shown where the sentence has a pause in it: interims that grow by a word, and finals."""
    redactor, shown = Redactor(WANTED, None), []
    words = sentence.text.split()
    for part, said in enumerate((words[:cut], words[cut:])):
        start_ms = 4000 * part
        events = [Interim(0, start_ms, start_ms + 100 * n, transcript(said[:n])) for n in range(1, len(said) + 1)]
        for event in (*events, Final(0, start_ms, start_ms + 3000, transcript(said), Cause.ENDPOINT)):
            (out,) = await redactor.push((event,))
            shown.append(out.transcript.text)
            shown.append(" ".join(word.text for word in out.transcript.words))
    return shown


async def generated(text: str, cuts: list[int]) -> str:
    redactor, out = Redactor(WANTED, None), []
    for begin, end in zip([0, *cuts], [*cuts, len(text)], strict=True):
        out += await redactor.push((TextDelta(0, text[begin:end], 1),))
    out += await redactor.finish()
    return "".join(event.text for event in out)


@pytest.mark.parametrize("part", range(4))
async def test_cuts(part: int) -> None:
    dice = random.Random(part)
    done = 0
    while done < CUTS // 4:
        for sentence in sentences(rounds=1, seed=dice.randrange(1 << 30)):
            secret = next((text for kind, text in sentence.hidden if kind not in OF_A_MODEL), None)
            if secret is None:
                continue
            text = sentence.text
            start = text.index(secret)
            cut = dice.randint(start, start + len(secret))
            more = sorted({cut, *(dice.randrange(1, len(text)) for _ in range(dice.randrange(6)))})
            written = await generated(text, more)
            assert not leaks(secret, written), (text, more, written)
            first = len(text[:start].split())
            pause = dice.randint(max(1, first), min(len(text.split()), first + len(secret.split())))
            for shown in await spoken(sentence, pause):
                assert not leaks(secret, shown), (text, pause, shown)
            done += 1
