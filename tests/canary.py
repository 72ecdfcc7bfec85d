"""Filters of the tests' own: what they must keep from everybody is a word."""

from dataclasses import fields, is_dataclass, replace

from antiphon.core.events import CharacterTime, ChoiceEnded, ReasoningDelta, Spoken, TextDelta, ToolCallDelta

CANARY, INSTEAD = "canary", "======"
_TEXTS = {TextDelta: "text", ReasoningDelta: "text", ToolCallDelta: "arguments"}


def holds(value, word=CANARY):
    """Whether the word is anywhere in it."""
    if isinstance(value, bytes):
        return word.encode() in value
    if isinstance(value, str):
        return word in value
    if isinstance(value, tuple | list):
        spelled = "".join(each.text for each in value if isinstance(each, CharacterTime))
        return word in spelled or any(holds(each, word) for each in value)
    return is_dataclass(value) and any(holds(getattr(value, field.name), word) for field in fields(value))


def without(value):
    """The same, with something else in place of the canary."""
    if type(value) in (str, bytes):
        old, new = (CANARY, INSTEAD) if isinstance(value, str) else (CANARY.encode(), INSTEAD.encode())
        return value.replace(old, new)
    if isinstance(value, tuple):
        value = tuple(map(without, value))
        return () if holds(value) else value
    if is_dataclass(value):
        return replace(value, **{field.name: without(getattr(value, field.name)) for field in fields(value)})
    return value


class Replacing:
    """Lets no canary pass. Of text that comes in pieces it holds back what may be the beginning of one."""

    def __init__(self):
        self._held = {}

    def push(self, events):
        out = []
        for event in events:
            if type(event) in _TEXTS:
                out += self._more(event)
                continue
            if isinstance(event, ChoiceEnded):
                out += self.finish()
            out.append(without(event))
        return tuple(out)

    def finish(self):
        held, self._held = self._held, {}
        return tuple(without(event) for event in held.values())

    def _more(self, event):
        field = _TEXTS[type(event)]
        key = (type(event), event.choice, getattr(event, "index", 0))
        before = self._held.pop(key, None)
        text = (getattr(before, field) if before else "") + getattr(event, field)
        tokens = (before.tokens if before else 0) + event.tokens
        text = text.replace(CANARY, INSTEAD)
        kept = next((n for n in range(min(len(CANARY) - 1, len(text)), 0, -1) if CANARY.startswith(text[-n:])), 0)
        whole = {field: text, "tokens": tokens}
        if isinstance(event, TextDelta):
            whole["scored"] = without(event.scored)
        if kept == len(text):
            self._held[key] = replace(event, **whole)
            return ()
        if kept:
            self._held[key] = replace(event, **(whole | {field: text[-kept:], "tokens": 0}))
            whole[field] = text[:-kept]
        return (replace(event, **whole),)


class Failing:
    """Fails at a canary, also at one that comes in pieces, in words that hold it; with `sound` at any sound."""

    def __init__(self, sound=False):
        self._sound = sound
        self._replacing = Replacing()
        self.pushed = []

    def push(self, events):
        self.pushed += events
        passed = self._replacing.push(events)
        if holds(passed, INSTEAD) or (self._sound and any(isinstance(event, Spoken) for event in events)):
            raise ValueError(f"what to do with {CANARY}?")
        return passed

    def finish(self):
        return self._replacing.finish()
