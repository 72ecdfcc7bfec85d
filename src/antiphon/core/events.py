"""The closed vocabulary between a surface and a session.

`Input` is what a caller does, `Output` what comes back. Outputs carry decisions, not snapshots: an `Interim`
replaces the one before it, a `Final` never repeats. Times are milliseconds from the start of the stream.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from antiphon.core.capabilities import Ability, SpeechAbility
from antiphon.core.errors import AntiphonError
from antiphon.core.redaction import Identified
from antiphon.core.specs import TurnRules
from antiphon.core.tensors import Parameters, Tensor

# -- inputs ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Audio:
    """Bytes in the format the spec declared, as they came."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Flush:
    """Finalise what has been heard so far, of one channel or of all, or say what has been written; keep the stream
    open.
    """

    context: str = ""
    channel: int | None = None


@dataclass(frozen=True, slots=True)
class End:
    """No more input; finalise, then close."""


@dataclass(frozen=True, slots=True)
class Begin:
    """A context of a live text, with its own way of speaking. One that is not begun has the spec's."""

    context: str
    speed: float = 1.0
    schedule: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Say:
    """More text. Contexts are independent texts of one connection, each spoken in its own order. What is `whole` does
    not wait for how the text goes on. `voice` is one of a dialogue's, who speaks from here on.
    """

    text: str
    context: str = ""
    whole: bool = False
    voice: str = ""


@dataclass(frozen=True, slots=True)
class Clear:
    """Forget what has been written and not yet been spoken."""

    context: str = ""


@dataclass(frozen=True, slots=True)
class Finish:
    """No more text for that context; say what has been written, then end it."""

    context: str = ""


@dataclass(frozen=True, slots=True)
class Retune:
    """From now on turns end so."""

    turns: TurnRules


Input = Audio | Flush | End | Begin | Say | Clear | Finish | Retune

# -- outputs -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Word:
    """One word as the model gave it, punctuation and case included.

    `confidence` is the geometric mean of its tokens' probabilities, 0..1.
    """

    text: str
    start_ms: int
    end_ms: int
    confidence: float


@dataclass(frozen=True, slots=True)
class Token:
    """One token of the model's output. `logprob` is natural; `id` is its place in the model's vocabulary."""

    text: str
    logprob: float
    id: int


@dataclass(frozen=True, slots=True)
class Transcript:
    """What was recognised. `words` holds times only where the spec asked for them; `tokens` only likewise. `language`
    (BCP 47) is what was heard, where that is known, and `language_confidence` (0..1) how likely that is, 1 where it was
    told. `entities` is the personal data in it, where that is hidden or wanted.
    """

    text: str
    confidence: float
    words: tuple[Word, ...] = ()
    tokens: tuple[Token, ...] = ()
    language: str = ""
    language_confidence: float = 1.0
    entities: tuple[Identified, ...] = ()


class Cause(StrEnum):
    """Why an utterance became final."""

    ENDPOINT = "endpoint"  # the speaker paused for as long as the spec says
    FLUSH = "flush"  # the caller asked
    LENGTH = "length"  # the longest utterance was reached; the speaker goes on
    END = "end"  # the input ended


@dataclass(frozen=True, slots=True)
class Opened:
    """The first event of a session. `model` is the name of what answers: a local model, or the version behind an
    alias; `fingerprint` tells sets of weights apart, where that is known. A model that will be no more says from when
    on it is deprecated, and when it goes. `kept` says that what the surface wants kept will be; `remembered` that it
    will be in memory, for a while. `unmet` (of a recogniser of speech `unmet_speech`) is what of the call has no
    effect, because the engine cannot do it. `languages` (BCP 47) are what a recogniser may hear: one, or more where it
    finds out.
    """

    model: str
    fingerprint: str = ""
    deprecated_unix_s: int | None = None
    sunset_unix_s: int | None = None
    kept: bool = False
    remembered: bool = False
    unmet: frozenset[Ability] = frozenset()
    unmet_speech: frozenset[SpeechAbility] = frozenset()
    languages: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SpeechStarted:
    channel: int
    at_ms: int


@dataclass(frozen=True, slots=True)
class Interim:
    """A replaceable transcript of the utterance that is being spoken. `turn_over` says how sure it is (0..1) that the
    speaker has finished, where the spec has rules for turns. `paused` says that the speaker is silent now, and that
    everything that was said is in it. `stable_words` is how many words at its beginning will hardly change any more; it
    never falls within an utterance, so it may exceed the words of an interim that turns out to be shorter.
    """

    channel: int
    start_ms: int
    end_ms: int
    transcript: Transcript
    turn_over: float | None = None
    paused: bool = False
    stable_words: int = 0


@dataclass(frozen=True, slots=True)
class Final:
    """The transcript of `start_ms..end_ms`, said once. Its text is empty where a flush found no speech. `turn_over` is
    as in `Interim`.
    """

    channel: int
    start_ms: int
    end_ms: int
    transcript: Transcript
    cause: Cause
    turn_over: float | None = None


def main_language(finals: Iterable[Final]) -> tuple[str, float]:
    """The language of most of what was said, and how likely it is there; an empty one where nothing was."""
    said: dict[str, list[tuple[int, float]]] = {}
    for final in finals:
        if final.transcript.text and final.transcript.language:
            length_ms = max(1, final.end_ms - final.start_ms)
            said.setdefault(final.transcript.language, []).append((length_ms, final.transcript.language_confidence))
    if not said:
        return "", 0.0
    language = max(said, key=lambda each: sum(length_ms for length_ms, _ in said[each]))
    lengths_ms = sum(length_ms for length_ms, _ in said[language])
    return language, sum(length_ms * sure for length_ms, sure in said[language]) / lengths_ms


@dataclass(frozen=True, slots=True)
class TurnMayEnd:
    """The speaker is silent since `at_ms`, and it is as sure as `early_confidence` that the turn is over."""

    channel: int
    at_ms: int


@dataclass(frozen=True, slots=True)
class SpeechResumed:
    """After `TurnMayEnd`: the speaker goes on."""

    channel: int
    at_ms: int


@dataclass(frozen=True, slots=True)
class UtteranceEnded:
    """No speech for as long as the spec's `utterance_end_ms` says since the last word's end."""

    channel: int
    last_word_end_ms: int


@dataclass(frozen=True, slots=True)
class Closed:
    """The last event of a session that ended well. `audio_ms` is one channel's length, as the server counted it;
    `sha256` is of the caller's bytes as they came, in hex.
    """

    audio_ms: int
    channels: int
    sha256: str


# -- language ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Alternative:
    """A token that might have stood in a place. `logprob` is natural."""

    text: str
    logprob: float


@dataclass(frozen=True, slots=True)
class ScoredToken:
    """A token that was chosen, with the likeliest ones in its place, where they were asked for."""

    text: str
    logprob: float
    top: tuple[Alternative, ...] = ()


@dataclass(frozen=True, slots=True)
class TextDelta:
    """More text of one choice. `tokens` is how many of the model's tokens it took, as far as is known when it is sent;
    `scored` holds them where log-probabilities were asked for.
    """

    choice: int
    text: str
    tokens: int
    scored: tuple[ScoredToken, ...] = ()


@dataclass(frozen=True, slots=True)
class ReasoningDelta:
    """More of what the model thinks before it answers."""

    choice: int
    text: str
    tokens: int


@dataclass(frozen=True, slots=True)
class ToolCallStarted:
    """The model calls a tool; `index` counts the calls of the choice from 0."""

    choice: int
    index: int
    id: str
    name: str


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """More of a call's arguments, JSON text."""

    choice: int
    index: int
    arguments: str
    tokens: int


class FinishReason(StrEnum):
    """Why a choice ended."""

    STOP = "stop"  # the model said so, or a stop text came
    LENGTH = "length"  # the bound on tokens, or the model's context
    TOOL_CALLS = "tool_calls"
    FILTERED = "content_filter"


@dataclass(frozen=True, slots=True)
class ChoiceEnded:
    """Nothing more comes of that choice."""

    choice: int
    reason: FinishReason


@dataclass(frozen=True, slots=True)
class TokenUsage:
    """What a generation took, of all its choices together. `cached` is the part of `input` that was not computed anew,
    `reasoning` the part of `output` that was thought.
    """

    input: int
    output: int
    cached: int = 0
    reasoning: int = 0


@dataclass(frozen=True, slots=True)
class Completed:
    """The last event of a generation that ended well."""

    usage: TokenUsage


@dataclass(frozen=True, slots=True)
class Embedded:
    """The vectors, in order, and the tokens that were read."""

    vectors: tuple[tuple[float, ...], ...]
    input_tokens: int


@dataclass(frozen=True, slots=True)
class Inferred:
    """The tensors a model gave. `version` is the model's own word for itself, empty where it has none."""

    outputs: tuple[Tensor, ...]
    version: str = ""
    parameters: Parameters = ()


Generated = TextDelta | ReasoningDelta | ToolCallStarted | ToolCallDelta | ChoiceEnded

# -- speech ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CharacterTime:
    """When a character is said, from the start of its context's speech."""

    text: str
    start_ms: int
    end_ms: int


@dataclass(frozen=True, slots=True)
class Spoken:
    """More speech of one context: bytes of the spec's format, which stand for `start_ms..end_ms` of it.

    Where times were asked for, `characters` are the caller's that are said here (or of the clause that ends here), in
    order, and `spelled` those of the same text as it was read aloud ("3" is "three"). In a live text what was flushed
    ends with a space, written or not.
    """

    audio: bytes
    start_ms: int
    end_ms: int
    characters: tuple[CharacterTime, ...] = ()
    spelled: tuple[CharacterTime, ...] = ()
    context: str = ""


@dataclass(frozen=True, slots=True)
class Flushed:
    """Everything written in that context before a `Flush` has been spoken."""

    context: str = ""


@dataclass(frozen=True, slots=True)
class Cleared:
    """What was still to be spoken in that context will not be."""

    context: str = ""


@dataclass(frozen=True, slots=True)
class ContextEnded:
    """Nothing more comes of that context."""

    context: str = ""


@dataclass(frozen=True, slots=True)
class AllSpoken:
    """The last event of a session of speech that ended well: what it is charged."""

    characters: int
    audio_ms: int


# -- the end of any session --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Failed:
    """The last event of a session that did not."""

    error: AntiphonError


Output = Opened | SpeechStarted | Interim | Final | TurnMayEnd | SpeechResumed | UtteranceEnded | Closed | Failed
LanguageOutput = Opened | Generated | TokenUsage | Completed | Embedded | Inferred | Failed
SpeechOutput = Opened | Spoken | Flushed | Cleared | ContextEnded | AllSpoken | Failed
