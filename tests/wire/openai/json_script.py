"""Reads and plays golden scripts of endpoints that take JSON. A line of a script is one of

= title       a new call
path /p       where it goes; query n=v and header n=v add to it
body {..}     its body
< Event {..}  an event from the session, in the words of core/events.py
> text        exactly what leaves; a new line between two of them, and none after the last
! text        status and body of a call that is refused at once
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest

from antiphon.core import errors, events
from antiphon.core.endpoints import CallEndpoint
from antiphon.core.wire import BROKEN_OFF, Close, Head, Opening, Step

HERE = Path(__file__).parent
REQUEST_ID = "00000000-0000-4000-8000-000000000001"
AT_UNIX_MS = 1_767_225_600_999
CLOSES = {None: [], Close(): ["CLOSE"], BROKEN_OFF: ["BROKEN OFF"]}


@dataclass
class Script:
    """One call: the request, then (what happens, what leaves) pairs."""

    title: str
    path: str
    query: list[tuple[str, str]] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=lambda: {"authorization": "Bearer k"})
    body: bytes = b""
    steps: list[tuple[str, list[str]]] = field(default_factory=list)
    refusal: str = ""

    @property
    def opening(self) -> Opening:
        return Opening("POST", self.path, tuple(self.query), self.headers, (), REQUEST_ID, AT_UNIX_MS)

    def sent(self) -> Iterator[dict[str, Any]]:
        """The JSON objects that leave, but for errors."""
        for _, leaves in self.steps:
            for line in leaves:
                data = line.removeprefix("data: ")
                if data.startswith("{") and not data.startswith('{"error":'):
                    yield json.loads(data)


def scripts(name: str, path: str) -> list[Any]:
    """Of one file, as parameters of a test."""
    found: list[Script] = []
    for line in (HERE / name).read_text().splitlines():
        kind, _, rest = line.partition(" ")
        key, _, value = rest.partition("=")
        match kind:
            case "" | "#":
                continue
            case "=":
                found.append(Script(rest, path))
            case "path":
                found[-1].path = rest
            case "query":
                found[-1].query.append((key, value))
            case "header":
                found[-1].headers[key] = value
            case "body":
                found[-1].body = rest.encode()
            case "<":
                found[-1].steps.append((rest, []))
            case ">":
                found[-1].steps[-1][1].append(rest)
            case "!":
                found[-1].refusal = rest
            case _:
                raise ValueError(line)
    return [pytest.param(script, id=script.title) for script in found]


def event(line: str) -> events.LanguageOutput | events.SpeechOutput:
    kind, _, text = line.partition(" ")
    if kind == "Failed":
        about = json.loads(text)
        return events.Failed(getattr(errors, about.pop("error"))(**about))
    return msgspec.json.decode(text, type=getattr(events, kind), strict=True)


def dump(step: Step) -> list[str]:
    """What leaves, as the scripts write it."""
    lines: list[str] = []
    body = b""
    for sent in step.sends:
        if isinstance(sent, Head):
            lines += [f"HTTP {sent.status}", *(f"{name}: {value}" for name, value in sent.headers), ""]
        else:
            assert isinstance(sent, bytes)
            body += sent
    if body:
        lines += body.decode().split("\n")
    return lines + CLOSES[step.close]


def play(endpoint: CallEndpoint[bytes], script: Script) -> None:
    """Asserts that what leaves is what the script says, or how the call is refused."""
    if script.refusal:
        with pytest.raises(errors.CallerError) as caught:
            endpoint.negotiate(script.opening, script.body)
        response = endpoint.refuse(script.opening, caught.value)
        assert f"{response.status} {response.body.decode()}" == script.refusal
        return
    surface = endpoint.negotiate(script.opening, script.body).surface
    assert script.steps
    for happens, leaves in script.steps:
        assert dump(surface.emit(event(happens), 0)) == leaves


def user(*parts: dict[str, Any]) -> dict[str, Any]:
    """A message whose content is these parts."""
    return {"role": "user", "content": parts}
