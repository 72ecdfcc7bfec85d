"""The closed set of events between a surface and a session.

`Input` comes from the caller, `Output` goes back. An `Interim` replaces the one before it, a `Final` is never repeated.
Times are milliseconds from the start of the stream.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from antiphon.core.budgets import RateLimit
from antiphon.core.capabilities import Ability, SpeechAbility
from antiphon.core.errors import AntiphonError
from antiphon.core.redaction import Identified
from antiphon.core.specs import TurnRules
from antiphon.core.tensors import Parameters, Tensor

# -- inputs ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Audio:
    """Bytes in the format that the spec declares, as received."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Flush:
    """Finalise the audio received so far, of one channel or of all, or speak the text received so far; keep the stream
    open.
    """

    context: str = ""
    channel: int | None = None


@dataclass(frozen=True, slots=True)
class End:
    """No more input; finalise, then close."""


@dataclass(frozen=True, slots=True)
class Begin:
    """A context of a live text, with its own speed and schedule. A context that is not begun has the spec's."""

    context: str
    speed: float = 1.0
    schedule: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Say:
    """More text. Contexts are independent texts of one connection, each spoken in its own order. A `whole` text is
    spoken without waiting for more. `voice` is the one of a dialogue that speaks from here on.
    """

    text: str
    context: str = ""
    whole: bool = False
    voice: str = ""


@dataclass(frozen=True, slots=True)
class Clear:
    """Drop the text that was not spoken yet."""

    context: str = ""


@dataclass(frozen=True, slots=True)
class Finish:
    """End a context after the text received so far is spoken."""

    context: str = ""


@dataclass(frozen=True, slots=True)
class Retune:
    """Change the rules for the end of turns."""

    turns: TurnRules


@dataclass(frozen=True, slots=True)
class Guide:
    """Change the text and the key terms that guide recognition, for the audio that follows. Without effect on a
    recogniser that cannot be guided.
    """

    prompt: str = ""
    keyterms: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Report:
    """Report how far the recognition is: a `Progress` of each channel follows, in order with the results."""


Input = Audio | Flush | End | Begin | Say | Clear | Finish | Retune | Guide | Report

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
    """The transcript of some speech. `words` has times only if the spec asks for them; `tokens` are present only if it
    asks for them. `language` (BCP 47) is the recognised one, if known, and `language_confidence` (0..1) its
    probability, 1 if it was given. `entities` is the personal data in it, if it is hidden or wanted.
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
    """The first event of a session. `model` is the name of the answering model: a local one, or the version behind an
    alias; `fingerprint` identifies its weights, if known. A model that will be removed has a deprecation and a sunset
    time. `kept`: the answer will be stored; `remembered`: it stays in memory for a while. `unmet` (for a recogniser
    `unmet_speech`) are the abilities whose parameters have no effect. `languages` (BCP 47) are those that a recogniser
    expects: one, or more if it detects the language; `guided` says whether a text can guide it. `rates` are the limits
    of rate that the caller has.
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
    guided: bool = False
    rates: tuple[RateLimit, ...] = ()


@dataclass(frozen=True, slots=True)
class SpeechStarted:
    """Somebody begins to speak."""

    channel: int
    at_ms: int


@dataclass(frozen=True, slots=True)
class Interim:
    """A replaceable transcript of the utterance being spoken. `turn_over` is the probability (0..1) that the speaker
    has finished, if the spec has rules for turns. `paused`: the speaker is silent now, and everything said is included.
    `stable_words` is how many first words will hardly change any more; it never falls within an utterance, so it may
    exceed the words of a shorter interim.
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
    """The transcript of `start_ms..end_ms`, sent once. Its text is empty if a flush found no speech. `turn_over` is as
    in `Interim`.
    """

    channel: int
    start_ms: int
    end_ms: int
    transcript: Transcript
    cause: Cause
    turn_over: float | None = None


def main_language(finals: Iterable[Final]) -> tuple[str, float]:
    """Return the language of most of the speech, and its probability; an empty one if nothing was said."""
    speech: dict[str, list[tuple[int, float]]] = {}
    for final in finals:
        if final.transcript.text and final.transcript.language:
            length_ms = max(1, final.end_ms - final.start_ms)
            speech.setdefault(final.transcript.language, []).append((length_ms, final.transcript.language_confidence))
    if not speech:
        return "", 0.0
    language = max(speech, key=lambda each: sum(length_ms for length_ms, _ in speech[each]))
    lengths_ms = sum(length_ms for length_ms, _ in speech[language])
    return language, sum(length_ms * sure for length_ms, sure in speech[language]) / lengths_ms


@dataclass(frozen=True, slots=True)
class TurnMayEnd:
    """The speaker is silent since `at_ms`, and the turn is over with a probability of `early_confidence`."""

    channel: int
    at_ms: int


@dataclass(frozen=True, slots=True)
class SpeechResumed:
    """The speaker continues after `TurnMayEnd`."""

    channel: int
    at_ms: int


@dataclass(frozen=True, slots=True)
class UtteranceEnded:
    """No speech for the spec's `utterance_end_ms` since the end of the last word."""

    channel: int
    last_word_end_ms: int


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the recognition of one channel is, in answer to `Report`. `received_ms` of audio have come so far; what
    was said before `settled_ms` has been sent, and no later result begins before it. `speech_probability` (0..1) is the
    highest of any frame of the voice detector since the last `Progress`.
    """

    channel: int
    received_ms: int
    settled_ms: int
    speech_probability: float


@dataclass(frozen=True, slots=True)
class Closed:
    """The last event of a session that ended well. `audio_ms` is one channel's length, as measured by the server;
    `sha256` is of the caller's bytes as received, in hex. `redacted_audio` is the copy of the recording that the spec
    asked for; empty if it would be too large.
    """

    audio_ms: int
    channels: int
    sha256: str
    redacted_audio: bytes = field(default=b"", repr=False)


# -- language ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Alternative:
    """A token that was possible at a position. `logprob` is natural. `raw` is the token's bytes, if they are known and
    no whole characters: its text has replacement characters then.
    """

    text: str
    logprob: float
    raw: bytes = b""


@dataclass(frozen=True, slots=True)
class ScoredToken:
    """A chosen token, with the likeliest ones at its position, if requested. `raw` is as an `Alternative`'s."""

    text: str
    logprob: float
    top: tuple[Alternative, ...] = ()
    raw: bytes = b""


@dataclass(frozen=True, slots=True)
class TextDelta:
    """More text of one choice. `tokens` is its number of tokens, as far as known when it is sent; `scored` holds them
    if log-probabilities were requested.
    """

    choice: int
    text: str
    tokens: int
    scored: tuple[ScoredToken, ...] = ()


@dataclass(frozen=True, slots=True)
class ReasoningDelta:
    """More of the model's reasoning before its answer."""

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
    """The tokens of a generation, of all its choices together. `cached` is the part of `input` that was not computed
    again, `reasoning` the part of `output` that is reasoning.
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
    """The tensors that a model returned. `version` is the model's own, empty if it has none."""

    outputs: tuple[Tensor, ...]
    version: str = ""
    parameters: Parameters = ()


Generated = TextDelta | ReasoningDelta | ToolCallStarted | ToolCallDelta | ChoiceEnded

# -- speech ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CharacterTime:
    """When a character is spoken, from the start of its context's speech."""

    text: str
    start_ms: int
    end_ms: int


@dataclass(frozen=True, slots=True)
class Spoken:
    """More speech of one context: its part `start_ms..end_ms`, in the spec's format.

    If times were requested, `characters` are those of the caller's text spoken here (or of the clause that ends here),
    in order, and `spelled` those of the same text as it was read aloud ("3" is "three"). In a live text, flushed text
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
    """All text of that context before a `Flush` has been spoken."""

    context: str = ""


@dataclass(frozen=True, slots=True)
class Cleared:
    """The rest of that context will not be spoken."""

    context: str = ""


@dataclass(frozen=True, slots=True)
class ContextEnded:
    """Nothing more comes of that context."""

    context: str = ""


@dataclass(frozen=True, slots=True)
class AllSpoken:
    """The last event of a speech session that ended well, with the amounts charged."""

    characters: int
    audio_ms: int


# -- the end of any session --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Failed:
    """The last event of a session that failed."""

    error: AntiphonError


Output = (
    Opened | SpeechStarted | Interim | Final | TurnMayEnd | SpeechResumed | UtteranceEnded | Progress | Closed | Failed
)
LanguageOutput = Opened | Generated | TokenUsage | Completed | Embedded | Inferred | Failed
SpeechOutput = Opened | Spoken | Flushed | Cleared | ContextEnded | AllSpoken | Failed
