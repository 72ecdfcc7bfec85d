"""The prompts of one call as an engine that others operate gets them: a placeholder is in place of everything to hide.

It fails closed: what cannot be searched (pictures, tokens, tensors), or not in time, is not sent. The same text has the
same placeholder, so that an answer can speak of it. Names of functions, and words of JSON schemas that are not the
caller's content, stay as they are.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from enum import Enum
from typing import Any, TypeVar

from antiphon.core.errors import AntiphonError, EngineTimeout, InternalError, PolicyError, TooLarge
from antiphon.core.redaction import ALL, Redaction, Span, Substitution, Tagger
from antiphon.core.specs import EmbedSpec, Format, GenerateSpec, Image, Message, Role, Shape, Spec
from antiphon.trust.redaction.documents import Piece
from antiphon.trust.redaction.finding import needs_model
from antiphon.trust.redaction.hiding import pieces_of, rewritten, shown
from antiphon.trust.redaction.labels import HASHED, Labels, same_text

MAX_CHARS = 1 << 20  # of a prompt, with everything around it
PROMPT_S = 30.0  # to search it

AnySpec = TypeVar("AnySpec", bound=Spec)


class _How(Enum):
    """How a text is searched."""

    TEXT = 1
    DOCUMENT = 2  # in JSON, if it is
    SCHEMA = 3


_Write = Callable[[str, _How], str]

log = logging.getLogger(__name__)


class Prompts:
    """Implements `core.ports.PromptFilter`. `least` is what the project's policy hides in answers; without any, prompts
    have no personal data of any kind. `texts` are what the placeholders stand for, as they were written first, if
    somebody `restores` them.
    """

    def __init__(self, least: Redaction | None, tagger: Tagger | None, *, restores: bool = False) -> None:
        wanted = replace(least or Redaction(ALL), numbered=True)
        if restores:
            wanted = replace(wanted, substitution=Substitution.ENTITY_NAME)
        self.texts: dict[str, str] = {}
        self._wanted = wanted
        self._tagger = tagger
        self._labels = _Remembering(wanted, self.texts)

    def push(self, events: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return the events as they are: what they say is for other filters."""
        return events

    def finish(self) -> tuple[Any, ...]:
        return ()

    async def hide(self, spec: AnySpec) -> AnySpec:
        """Return the spec without what is to be hidden. Raises `PolicyError`, `TooLarge`, `EngineTimeout`, and what the
        model raises.
        """
        try:
            async with asyncio.timeout(PROMPT_S):
                return await self._hidden(spec)
        except TimeoutError:
            raise EngineTimeout("The prompt could not be redacted in time.") from None
        except AntiphonError:
            raise
        except Exception as error:  # its text may quote the prompt
            log.error("a prompt could not be redacted: %s", type(error).__name__)
            raise InternalError("The prompt could not be redacted.") from None

    async def _hidden(self, spec: AnySpec) -> AnySpec:
        pieces: dict[Piece, None] = {}

        def gather(text: str, how: _How) -> str:
            pieces.update(dict.fromkeys(_pieces(text, how)))
            return text

        _mapped(spec, gather)
        size = sum(len(piece.judged) for piece in pieces)
        if size > MAX_CHARS:
            raise TooLarge(f"A prompt that is redacted can have at most {MAX_CHARS} characters.")
        tags = await self._tagged([piece.judged for piece in pieces])
        found = await shown(list(pieces), self._wanted, self._labels, tags)

        def write(text: str, how: _How) -> str:
            if how is _How.TEXT:
                return found[Piece(text)]
            return rewritten(text, found.__getitem__, schema=how is _How.SCHEMA)

        written: AnySpec = _mapped(spec, write)
        return written

    async def _tagged(self, texts: Sequence[str]) -> Sequence[Sequence[Span]]:
        if not needs_model(self._wanted):
            return [()] * len(texts)
        if self._tagger is None:
            raise PolicyError("Names and places cannot be redacted: this server has no model that finds them.")
        return await self._tagger.tag(texts)


class _Remembering(Labels):
    """Labels that remember the first text behind each."""

    def __init__(self, wanted: Redaction, texts: dict[str, str]) -> None:
        super().__init__(wanted)
        self._texts = texts

    def label(self, span: Span, text: str, *, lasts: bool = True) -> str:
        label = super().label(span, text, lasts=lasts)
        first = self._texts.setdefault(label, text)
        kind = self.kind(span)
        if label != HASHED and same_text(first, kind) != same_text(text, kind):
            raise TooLarge("A prompt that is redacted can have at most 10,000 different texts of a kind to hide.")
        return label


# -- where the texts of a call are -------------------------------------------------------------------------------------


def _pieces(text: str, how: _How) -> Sequence[Piece]:
    if how is _How.TEXT:
        return [Piece(text)]
    return pieces_of(text, schema=how is _How.SCHEMA)


def _mapped(spec: Any, write: _Write) -> Any:
    """Return the spec with each of its texts and JSON documents written anew. Raises `PolicyError`."""
    match spec:
        case EmbedSpec():
            if not all(isinstance(each, str) for each in spec.texts):
                raise PolicyError("Tokens cannot be redacted, and this project's prompts must be. Send texts.")
            return replace(spec, texts=tuple(write(str(each), _How.TEXT) for each in spec.texts))
        case GenerateSpec():
            return _generation(spec, write)
    raise PolicyError("Tensors cannot be redacted, and what this project sends to others must be.")


def _generation(spec: GenerateSpec, write: _Write) -> GenerateSpec:
    for stop in (*spec.sampling.stop, *spec.sampling.bad_words):
        if write(stop, _How.TEXT) != stop:
            raise PolicyError("A text that ends the answer, or must not be in it, has personal data.")
    prompt = spec.prompt
    return replace(
        spec,
        prompt=write(prompt, _How.TEXT) if isinstance(prompt, str) else tuple(_message(each, write) for each in prompt),
        format=_format(spec.format, write),
        tools=tuple(
            replace(
                tool,
                description=write(tool.description, _How.TEXT),
                parameters=write(tool.parameters, _How.SCHEMA),
            )
            for tool in spec.tools
        ),
        template_arguments=write(spec.template_arguments, _How.DOCUMENT),
    )


def _format(form: Format, write: _Write) -> Format:
    if form.shape in (Shape.SCHEMA, Shape.CHOICE):
        schema = write(form.schema, _How.SCHEMA)
        return replace(form, schema=schema, description=write(form.description, _How.TEXT))
    if write(form.schema, _How.TEXT) != form.schema:
        raise PolicyError("The regular expression or grammar of the answer has personal data.")
    return form


def _message(message: Message, write: _Write) -> Message:
    """Return the message; the name of whoever wrote it is left out."""
    how = _How.DOCUMENT if message.role is Role.TOOL else _How.TEXT
    parts = []
    for part in message.parts:
        if isinstance(part, Image):
            raise PolicyError("Pictures cannot be redacted, and this project's prompts must be.", param=part.param)
        parts.append(write(part, how))
    return replace(
        message,
        text=write(message.text, how),
        name=message.name if message.role is Role.TOOL else "",
        tool_calls=tuple(replace(call, arguments=write(call.arguments, _How.DOCUMENT)) for call in message.tool_calls),
        parts=tuple(parts),
    )
