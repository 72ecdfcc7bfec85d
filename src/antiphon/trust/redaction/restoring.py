"""The caller's own text in place of the placeholders that an engine got.

Before the filter of what callers are shown, a placeholder becomes a single character without a meaning, and after it
the text that it stands for: so the caller's own text is not hidden from the caller, and no part of a placeholder is
taken for personal data. The end of a text in pieces is held back while it may be the beginning of a placeholder.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from antiphon.core.events import ChoiceEnded, ReasoningDelta, TextDelta, ToolCallDelta, ToolCallStarted

MAX_PLACEHOLDER = 40  # characters
FIRST = 0xF0000  # of a private plane of Unicode, which has room for 65,534 placeholders
PLACES = 65_534
_PLACEHOLDER = re.compile(r"\[[A-Z][A-Z_]*_[0-9]{1,5}\]")
_BEGINS = re.compile(r"\[(?:[A-Z][A-Z_]*[0-9]{0,5})?$")
_MARK = re.compile(f"[{chr(FIRST)}-{chr(FIRST + PLACES - 1)}]")

Delta = TextDelta | ReasoningDelta | ToolCallDelta
_Key = tuple[type, int, int]


class Placeholders:
    """The characters of one call, each in place of a placeholder. `texts` are what placeholders stand for."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        self._texts = texts
        self._known: dict[str, str] = {}
        self._places: list[str] = []

    @property
    def any(self) -> bool:
        return bool(self._texts)

    def mask(self, text: str) -> str:
        """Return the text with a character for each placeholder. Such characters of the engine's own are left out."""
        return _PLACEHOLDER.sub(self._masked, _MARK.sub("", text))

    def restore(self, text: str, write: Callable[[str], str]) -> str:
        """Return the text with what the characters stand for, as `write` writes it."""
        return _MARK.sub(lambda found: write(self._texts[self._places[ord(found[0]) - FIRST]]), text)

    def _masked(self, found: re.Match[str]) -> str:
        placeholder = found[0]
        if placeholder not in self._texts:
            return placeholder
        if placeholder not in self._known:
            if len(self._places) == PLACES:
                return placeholder
            self._known[placeholder] = chr(FIRST + len(self._places))
            self._places.append(placeholder)
        return self._known[placeholder]


class Masking:
    """Implements `core.ports.EventFilter`: masks placeholders in what an engine says."""

    def __init__(self, placeholders: Placeholders) -> None:
        self._placeholders = placeholders
        self._held: dict[_Key, Delta] = {}

    def push(self, events: tuple[Any, ...]) -> tuple[Any, ...]:
        if not self._placeholders.any:
            return events
        out: list[Any] = []
        for event in events:
            match event:
                case TextDelta() | ReasoningDelta() | ToolCallDelta():
                    out += self._more(event)
                case ChoiceEnded() | ToolCallStarted():
                    out += self._rest(event.choice)
                    out.append(event)
                case _:
                    out.append(event)
        return tuple(out)

    def finish(self) -> tuple[Any, ...]:
        return tuple(event for choice in sorted({key[1] for key in self._held}) for event in self._rest(choice))

    def _more(self, event: Delta) -> list[Delta]:
        key = type(event), event.choice, event.index if isinstance(event, ToolCallDelta) else 0
        out = self._rest(event.choice, but=key)
        held = self._held.pop(key, None)
        if held is not None:
            event = replace(_with(event, _text(held) + _text(event)), tokens=held.tokens + event.tokens)
        text = _text(event)
        begins = _BEGINS.search(text, max(0, len(text) - MAX_PLACEHOLDER))
        if begins is None:
            return [*out, _with(event, self._placeholders.mask(text))]
        self._held[key] = replace(_with(event, text[begins.start() :]), tokens=0)
        sent = _with(event, self._placeholders.mask(text[: begins.start()]))
        return [*out, sent] if _text(sent) or sent.tokens else out

    def _rest(self, choice: int, but: _Key | None = None) -> list[Delta]:
        keys = [key for key in self._held if key[1] == choice and key != but]
        held = [self._held.pop(key) for key in keys]
        return [_with(event, self._placeholders.mask(_text(event))) for event in held]


class Restoring:
    """Implements `core.ports.EventFilter`: puts the caller's own text back. With `whole`, answers are JSON."""

    def __init__(self, placeholders: Placeholders, *, whole: bool = False) -> None:
        self._placeholders = placeholders
        self._whole = whole

    def push(self, events: tuple[Any, ...]) -> tuple[Any, ...]:
        if not self._placeholders.any:
            return events
        return tuple(self._restored(event) for event in events)

    def finish(self) -> tuple[Any, ...]:
        return ()

    def _restored(self, event: Any) -> Any:
        if not isinstance(event, TextDelta | ReasoningDelta | ToolCallDelta):
            return event
        json_text = isinstance(event, ToolCallDelta) or (self._whole and isinstance(event, TextDelta))
        return _with(event, self._placeholders.restore(_text(event), _escaped if json_text else str))


def _escaped(text: str) -> str:
    """Return the text as it is written inside a JSON string."""
    return json.dumps(text, ensure_ascii=False)[1:-1]


def _text(event: Delta) -> str:
    return event.arguments if isinstance(event, ToolCallDelta) else event.text


def _with(event: Delta, text: str) -> Delta:
    return replace(event, arguments=text) if isinstance(event, ToolCallDelta) else replace(event, text=text)
