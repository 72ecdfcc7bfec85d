"""The abilities that engines declare, and those that a call needs.

The session compares the two once, before it opens. A call that needs a missing ability is refused with the name of the
ability; the surface maps it to its parameter. A parameter that affects only quality or convenience is dropped instead,
and the response names it.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from antiphon.core.errors import UnsupportedParameter
from antiphon.core.languages import match_language
from antiphon.core.specs import (
    GenerateSpec,
    Image,
    Message,
    Sampling,
    Shape,
    ToolChoice,
    ToolMode,
    TranscribeSpec,
)

# -- language ----------------------------------------------------------------------------------------------------------


class Ability(StrEnum):
    """An ability that not every language-model engine has. Its value is the name of the parameter that asks for it, in
    OpenAI's spelling, or vLLM's if OpenAI has none.
    """

    RAW_TEXT = "prompt"  # continues a text that is not a conversation
    CHOICES = "n"  # several outputs
    IMAGES = "image_url"  # sees pictures in messages
    TOOL_CHOICE = "tool_choice"  # calls a tool, or a certain one, because it must
    ONE_TOOL_CALL = "parallel_tool_calls"  # calls one tool at a time
    JSON_OUTPUT = "response_format"  # keeps to JSON, or to a schema
    CHOICE_OUTPUT = "choice"  # these three: the constraint of that name in `structured_outputs`
    REGEX_OUTPUT = "regex"
    GRAMMAR_OUTPUT = "grammar"
    REASONING_EFFORT = "reasoning_effort"
    VERBOSITY = "verbosity"
    SEED = "seed"
    LOGPROBS = "logprobs"
    TOP_LOGPROBS = "top_logprobs"
    LOGIT_BIAS = "logit_bias"
    TOP_K = "top_k"
    MIN_P = "min_p"
    REPETITION_PENALTY = "repetition_penalty"
    MIN_TOKENS = "min_tokens"
    IGNORE_EOS = "ignore_eos"
    STOP_TOKENS = "stop_token_ids"
    STOP_IN_OUTPUT = "include_stop_str_in_output"
    SPECIAL_TOKENS = "skip_special_tokens"
    BAD_WORDS = "bad_words"
    ALLOWED_TOKENS = "allowed_token_ids"
    TEMPLATE_ARGUMENTS = "chat_template_kwargs"


EVERYTHING = frozenset(Ability)

_FORMS = {
    Shape.JSON: Ability.JSON_OUTPUT,
    Shape.SCHEMA: Ability.JSON_OUTPUT,
    Shape.CHOICE: Ability.CHOICE_OUTPUT,
    Shape.REGEX: Ability.REGEX_OUTPUT,
    Shape.GRAMMAR: Ability.GRAMMAR_OUTPUT,
}
# The sampling parameters that need an ability, if they change anything.
_SAMPLING: tuple[tuple[Ability, Callable[[Sampling], object]], ...] = (
    (Ability.SEED, lambda sampling: sampling.seed is not None),
    (Ability.LOGPROBS, lambda sampling: sampling.logprobs),
    (Ability.TOP_LOGPROBS, lambda sampling: sampling.top_logprobs),
    (Ability.LOGIT_BIAS, lambda sampling: sampling.logit_bias),
    (Ability.TOP_K, lambda sampling: sampling.top_k),
    (Ability.MIN_P, lambda sampling: sampling.min_p),
    (Ability.REPETITION_PENALTY, lambda sampling: sampling.repetition_penalty not in (None, 1)),
    (Ability.MIN_TOKENS, lambda sampling: sampling.min_tokens),
    (Ability.IGNORE_EOS, lambda sampling: sampling.ignore_eos),
    (Ability.STOP_TOKENS, lambda sampling: sampling.stop_token_ids),
    (Ability.STOP_IN_OUTPUT, lambda sampling: sampling.stop_in_output),
    (Ability.SPECIAL_TOKENS, lambda sampling: sampling.special_tokens),
    (Ability.BAD_WORDS, lambda sampling: sampling.bad_words),
    (Ability.ALLOWED_TOKENS, lambda sampling: sampling.allowed_token_ids),
)
_PLAIN = Sampling()
# Parameters of quality or convenience: their field of the spec, and the values that any engine fulfils.
_DISPENSABLE: Mapping[Ability, tuple[str, tuple[str, ...]]] = {
    Ability.REASONING_EFFORT: ("reasoning_effort", ("", "none")),
    Ability.VERBOSITY: ("verbosity", ("", "medium")),
}


class Incapable(UnsupportedParameter):
    """The engine lacks `ability`, which the call needs. `param` is the caller's parameter, or the ability's own name if
    that is unknown. `model` is the caller's name of the model, if known.
    """

    def __init__(self, ability: "Ability | SpeechAbility", param: str | None = None, model: str = "") -> None:
        super().__init__(f"This model does not support '{param or ability}'.", param=param or ability)
        self.ability = ability
        self.model = model


def settle(spec: GenerateSpec, abilities: frozenset[Ability]) -> tuple[GenerateSpec, frozenset[Ability]]:
    """Return the spec for an engine with these abilities, and the abilities whose parameters have no effect. Raises
    `Incapable`.
    """
    for needed in _needed(spec):
        if needed not in abilities:
            raise Incapable(needed, _place(needed, spec))
    unmet = []
    for ability, (field, fulfilled) in _DISPENSABLE.items():
        value = getattr(spec, field)
        if value and ability not in abilities:
            left_out: dict[str, Any] = {field: ""}
            spec = replace(spec, **left_out)
            if value not in fulfilled:
                unmet.append(ability)
    return spec, frozenset(unmet)


def _needed(spec: GenerateSpec) -> Iterable[Ability]:
    if isinstance(spec.prompt, str):
        yield Ability.RAW_TEXT
    elif any(message.parts for message in spec.prompt):
        yield Ability.IMAGES
    if spec.choices > 1:
        yield Ability.CHOICES
    if spec.tools:
        # A tool that must not be called can always be kept from the engine.
        if spec.tool_choice != ToolChoice() and spec.tool_choice.mode is not ToolMode.NONE:
            yield Ability.TOOL_CHOICE
        if not spec.parallel_tool_calls:
            yield Ability.ONE_TOOL_CALL
    if spec.format.shape in _FORMS:
        yield _FORMS[spec.format.shape]
    if spec.template_arguments:
        yield Ability.TEMPLATE_ARGUMENTS
    if spec.sampling != _PLAIN:
        for ability, wanted in _SAMPLING:
            if wanted(spec.sampling):
                yield ability


def images(messages: Iterable[Message]) -> Iterable[Image]:
    """Return all images, in order."""
    return (part for message in messages for part in message.parts if isinstance(part, Image))


def _place(ability: Ability, spec: GenerateSpec) -> str | None:
    """Return the caller's parameter for it, if known."""
    if ability is Ability.IMAGES and not isinstance(spec.prompt, str):
        return next(iter(images(spec.prompt))).param or None
    return spec.format.param or None if ability in _FORMS.values() else None


# -- speech ------------------------------------------------------------------------------------------------------------


class SpeechAbility(StrEnum):
    """An ability that not every speech recogniser has."""

    TRANSLATION = "translate"  # writes in English what is said in another language
    DETECTION = "detect_language"  # finds out which language is spoken, and says it
    GUIDANCE = "prompt"  # lets a text and key terms guide it


@dataclass(frozen=True, slots=True)
class SpeechCapabilities:
    """The capabilities of a speech recogniser. `languages` are BCP 47 codes without regions; `language` is the one for
    a call that names none, empty if the engine detects it.
    """

    languages: frozenset[str] = frozenset(("en",))
    language: str = "en"
    abilities: frozenset[SpeechAbility] = frozenset()


class UnsupportedLanguage(UnsupportedParameter):
    """The engine does not recognise `language` (in the caller's spelling), only `languages`. `param` is `languages` if
    it is one of several candidates.
    """

    def __init__(self, language: str, languages: Iterable[str], param: str = "language") -> None:
        self.language, self.languages = language, tuple(sorted(languages))
        names = ", ".join(f"'{each}'" for each in self.languages)
        super().__init__(f"This model does not support the language {language[:64]!r}, only {names}.", param=param)


def settle_speech(spec: TranscribeSpec, engine: SpeechCapabilities) -> tuple[TranscribeSpec, frozenset[SpeechAbility]]:
    """Return the spec for this engine, with languages as it knows them, and the abilities whose parameters have no
    effect. Raises `Incapable`, `UnsupportedLanguage`.
    """
    for wanted, ability in ((spec.translate, SpeechAbility.TRANSLATION), (spec.detect, SpeechAbility.DETECTION)):
        if wanted and ability not in engine.abilities:
            raise Incapable(ability, model=spec.model)
    language = check_language(spec.language, engine.languages) if spec.language else ""
    hints = dict.fromkeys(check_language(hint, engine.languages, "languages") for hint in spec.languages)
    if not language and not spec.detect:
        language = next(iter(hints)) if len(hints) == 1 else "" if hints else engine.language
    if language:
        hints = {language: None}
    spec = replace(spec, language=language, languages=tuple(hints))
    if (spec.prompt or spec.keyterms) and SpeechAbility.GUIDANCE not in engine.abilities:
        return replace(spec, prompt="", keyterms=()), frozenset((SpeechAbility.GUIDANCE,))
    return spec, frozenset()


def check_language(tag: str, languages: Iterable[str], param: str = "language") -> str:
    """Return the member of `languages` for this tag. Raises `UnsupportedLanguage`."""
    languages = frozenset(languages)
    language = match_language(tag, languages)
    if language is None:
        raise UnsupportedLanguage(tag, languages, param)
    return language
