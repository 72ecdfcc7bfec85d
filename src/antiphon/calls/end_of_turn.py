"""Whether a speaker has finished, by the words: punctuation and syntax of the hypothesis at a pause.

A recogniser ends nearly every pause with a full stop, so the last words are examined first: a sentence that ends in
"and", "the" or "um" continues, whatever follows it. The result is how long to wait in silence before the turn counts as
over. Only the last sentence counts.

| what was said                                                                   | its kind  |
|---------------------------------------------------------------------------------|-----------|
| ends in a filler, or in a word that something must follow                       | `HANGING` |
| ends in a dash, ellipsis or colon                                               | `HANGING` |
| ends in the middle of a number that is being dictated                           | `HANGING` |
| ends in a word that something usually follows ("might be", "how", "not")        | `OPEN`    |
| the same in a question, after "yes" or "no", or after "than", "what", "where"   | `WHOLE`   |
| ends in `?` or `!`, or a short answer ("yes", "no thanks") without a comma      | `WHOLE`   |
| ends in a full stop, with three words or more                                   | `WHOLE`   |
| anything else, what ends in a comma too                                         | `OPEN`    |

A comma is the recogniser's guess at a tone that did not fall, and as often the end as not. The figures are what people
wait: most answers begin within 200 ms (Stivers and others, *Universals and cultural variation in turn-taking*, 2009),
and silence lasts about a second before somebody ends it (Jefferson, *Notes on a possible metric*, 1989); in the middle
of a phrase, twice that is allowed. OpenAI's documented maxima, 2, 4 and 8 s, bound them.
"""

import re
from enum import Enum, auto

from antiphon.core.conversation.spec import Eagerness
from antiphon.core.text import plain


class Thought(Enum):
    """The state of a sentence at a pause."""

    WHOLE = auto()
    OPEN = auto()
    HANGING = auto()


# Milliseconds of silence that end a turn.
SILENCE_MS: dict[Eagerness, dict[Thought, int]] = {
    Eagerness.HIGH: {Thought.WHOLE: 250, Thought.OPEN: 600, Thought.HANGING: 1200},
    Eagerness.MEDIUM: {Thought.WHOLE: 400, Thought.OPEN: 1200, Thought.HANGING: 2400},
    Eagerness.LOW: {Thought.WHOLE: 900, Thought.OPEN: 2500, Thought.HANGING: 5000},
}

_FILLERS = "um uh umm uhh uhm hmm hm er erm ah mm like well so anyway basically actually"
_CONJUNCTIONS = "and or but nor because since although though unless until while whereas if whether than that as when"
_DETERMINERS = "a an the my your his her its our their this these those every each some any no another which whose"
_PREPOSITIONS = "of to for with from into onto at by about between among through during under over without against per"
_PRONOUNS = "i we they he she who what where"
_AUXILIARIES = (
    "am is are was were be been being have has had do does did will would shall should can could may might must"
)
_CONTRACTIONS = "i'm i'll i'd i've we're we'll we've they're they'll you're you'll he's she's it's that's there's let's"
_LEADING = "please maybe perhaps very really just also gonna wanna want need"

# Words that are usually followed by others, but may end a sentence: "Yes, I do."
_PARTICLES = (
    "like well so anyway actually over through about under by please really no want need maybe that each some any"
)
_VERBS = "am is are was were have has had do does did will would should can could may might must be been ask say said"
_OBJECTS = "this these those her his what where who how why when then there even still more most less much many not"
_REFERRING = "than as what where who how"  # in front of the last words: "than he was", "where they are"
_DIGITS = "zero oh one two three four five six seven eight nine"
_SHORT = "yes yeah yep no nope okay ok sure right correct exactly thanks hello hi hey bye stop wait never always"


def _words(*lists: str) -> frozenset[str]:
    return frozenset(word for words in lists for word in words.split())


FOLLOWED = _words(
    _FILLERS, _CONJUNCTIONS, _DETERMINERS, _PREPOSITIONS, _PRONOUNS, _AUXILIARIES, _CONTRACTIONS, _LEADING
)
USUALLY_FOLLOWED = _words(_PARTICLES, _VERBS, _OBJECTS)
REFERRING = _words(_REFERRING)
DIGITS = _words(_DIGITS)
SHORT = _words(_SHORT)
DICTATION_GROUPS = 2  # from this many groups of digits in a row, a number is being dictated ...
WHOLE_NUMBER = (3, 4, 7, 10, 11)  # ... and with this many digits it may be complete
CLAUSE = 3  # from this many words, a text with a full stop is a sentence

REFERS = 4  # how far from the end a referring word may be

_SENTENCE = re.compile(r"(?<=[.?!])\s+(?=\S)")
_UNENDED = re.compile(r"(?:[:–—-]|\.\.\.|…)[\"')\]]*$")
_PAUSED = re.compile(r"[,;][\"')\]]*$")
_ENDED = re.compile(r"[.?!][\"')\]]*$")
_QUESTION = re.compile(r"[?!][\"')\]]*$")


def thought_of(text: str) -> Thought:
    """Return the kind of the text's end."""
    text = _last_sentence(text)
    words = plain(text).split()
    if not words or _UNENDED.search(text):
        return Thought.HANGING
    last, is_question = words[-1], _QUESTION.search(text) is not None
    if last in USUALLY_FOLLOWED and len(words) > 1:
        refers = is_question or words[0] in SHORT or not REFERRING.isdisjoint(words[-REFERS:-1])
        return Thought.WHOLE if refers and _ENDED.search(text) else Thought.OPEN
    if last in FOLLOWED or _mid_number(words):
        return Thought.HANGING
    if is_question or (words[0] in SHORT and len(words) < CLAUSE and not _PAUSED.search(text)):
        return Thought.WHOLE
    return Thought.WHOLE if _ENDED.search(text) and len(words) >= CLAUSE else Thought.OPEN


def _last_sentence(text: str) -> str:
    """Return the last sentence; after a title ("Mr. John") perhaps only a part, which is as good."""
    return _SENTENCE.split(text.strip())[-1]


def silence_after_ms(text: str, eagerness: Eagerness) -> int:
    """Return how much silence after `text` ends the turn."""
    return SILENCE_MS[eagerness][thought_of(text)]


def longest_ms(eagerness: Eagerness) -> int:
    """Return how much silence ends the turn, whatever the words."""
    return max(SILENCE_MS[eagerness].values())


def soonest_ms(eagerness: Eagerness) -> int:
    """Return the least silence that ends a turn."""
    return min(SILENCE_MS[eagerness].values())


def _mid_number(words: list[str]) -> bool:
    """Return whether a number is being dictated, in groups or digit by digit, and is shorter than usual numbers."""
    groups = digits = 0
    for word in reversed(words):
        more = len(word.replace("-", "")) if re.fullmatch(r"[0-9-]*[0-9]", word) else int(word in DIGITS)
        if not more:
            break
        groups, digits = groups + 1, digits + more
    return groups >= DICTATION_GROUPS and digits not in WHOLE_NUMBER
