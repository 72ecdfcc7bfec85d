"""The redaction that each call needs: by its project's policy, and by its caller's request."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from antiphon.core.call import Call
from antiphon.core.errors import PolicyError, UnsupportedParameter
from antiphon.core.policy import EVERY_WORD, UNREADABLE_WORDS, Policy, PromptPolicy
from antiphon.core.ports import EventFilter
from antiphon.core.redaction import Redaction, Tagger, parse_entities
from antiphon.core.specs import GenerateSpec, Shape, Spec, TranscribeSpec
from antiphon.trust.redaction.filtering import Redactor
from antiphon.trust.redaction.finding import needs_model
from antiphon.trust.redaction.prompts import Prompts
from antiphon.trust.redaction.restoring import Masking, Placeholders, Restoring


@lru_cache(1024)
def required(policy: Policy) -> Redaction | None:
    """Return the redaction that a policy requires; `None` if it requires none."""
    words, patterns = policy.redact_words, policy.redact_patterns
    if words == UNREADABLE_WORDS:
        words, patterns = "", EVERY_WORD
    least = Redaction(
        entities=parse_entities(policy.redact.split(",")) if policy.redact else frozenset(),
        substitution=policy.redact_as,
        words=tuple(words.splitlines()),
        patterns=tuple(patterns.splitlines()),
    )
    return least if least.hides else None


class Redactions:
    """Creates the filters of each call. `policy` returns the policy of a project, by its id; `tagger` is the model, if
    there is one.
    """

    def __init__(self, policy: Callable[[str], Policy], tagger: Tagger | None) -> None:
        self._policy = policy
        self._tagger = tagger

    def of(self, call: Call[Any]) -> Redaction | None:
        """Return the redaction of a call; `None` if nothing is hidden or reported."""
        least = required(self._policy(call.principal.project))
        redaction: Redaction | None = getattr(call.spec, "redaction", None)
        return redaction.joined(least) if redaction is not None else least

    def filters(self, call: Call[Any]) -> Sequence[EventFilter]:
        """Return the filters of a call. Raises `PolicyError` if names must be hidden and no model finds them, or if the
        language is not English; `UnsupportedParameter` for a parameter that would reveal hidden text, and if only the
        caller asks for redaction, and in another language.
        """
        policy = self._policy(call.principal.project)
        shown = self._shown(call)
        if policy.prompts is PromptPolicy.PLAIN or not isinstance(call.spec, Spec):
            return shown
        restores = policy.prompts is PromptPolicy.RESTORED
        prompts = Prompts(required(policy), self._tagger, restores=restores)
        if not restores:
            return (prompts, *shown)
        whole = False
        if isinstance(call.spec, GenerateSpec):
            if call.spec.sampling.logprobs:
                message = "Log probabilities are not available where prompts are redacted and restored."
                raise UnsupportedParameter(message, param="logprobs")
            whole = _is_json(call.spec)
        placeholders = Placeholders(prompts.texts)
        return (prompts, Masking(placeholders), *shown, Restoring(placeholders, whole=whole))

    def _shown(self, call: Call[Any]) -> Sequence[EventFilter]:
        """Return the filters of what the caller is shown."""
        wanted = self.of(call)
        if wanted is None:
            return ()
        whole = translated = False
        by_caller = required(self._policy(call.principal.project)) is None
        match call.spec:
            case TranscribeSpec() as spec:
                translated = spec.translate
                language = spec.language.partition("-")[0].lower()
                if wanted.hides and spec.tokens:
                    raise UnsupportedParameter("Log probabilities are not available where transcripts are redacted.")
                if language not in ("", "en") and not translated:
                    message = "Redaction is for English only, and another language was named."
                    raise UnsupportedParameter(message) if by_caller else PolicyError(message)
            case GenerateSpec() as spec:
                if wanted.hides and spec.sampling.logprobs:
                    message = "Log probabilities are not available where answers are redacted."
                    raise UnsupportedParameter(message, param="logprobs")
                whole = _is_json(spec)
        named = needs_model(wanted)
        if named and self._tagger is None:
            raise PolicyError("Names and places cannot be redacted: this server has no model that finds them.")
        return (Redactor(wanted, self._tagger if named else None, whole=whole, translated=translated),)


def _is_json(spec: GenerateSpec) -> bool:
    return spec.format.shape in (Shape.JSON, Shape.SCHEMA)
