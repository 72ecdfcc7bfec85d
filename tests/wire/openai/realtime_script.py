"""Wire scripts of the Realtime API: small text files that say what comes in, and exactly what must go out.

What comes in:
    ? PATH?QUERY            a new opening
    : NAME: VALUE           a header of the next opening
    $ TEXT                  what was settled when the secret of the next opening was made
    > TEXT                  a text message
    >> N                    a binary message of N bytes
    ! EVENT                 an event of the conversation, in the words of core/conversation/
What must go out, and is compared character by character:
    < LINE                  a message to the caller, or the status line, a header, the body
    = INPUT                 an input of the conversation; of its spec, what is otherwise than it was
    x CODE REASON           the close
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import Any
from urllib.parse import parse_qsl

from antiphon.core import audio, capabilities, errors, events, specs
from antiphon.core.conversation import inputs, items, outputs, spec
from antiphon.core.conversation.inputs import AppendAudio
from antiphon.core.conversation.outputs import ConversationOutput
from antiphon.core.conversation.spec import ConverseSpec
from antiphon.core.wire import Opening, Step
from antiphon.surfaces.openai.realtime.live import Realtime, RealtimeEndpoint
from wire_player import WirePlayer

REQUEST_ID = "00000000-0000-4000-8000-000000000001"
VOCABULARY = audio, capabilities, specs, events, errors, spec, items, inputs, outputs
WORDS = {name: value for module in VOCABULARY for name, value in vars(module).items()}


@dataclass
class Player(WirePlayer):
    surface: Realtime | None = None
    headers: dict[str, str] = field(default_factory=dict)
    settled: bytes | None = None
    sent: list[str] = field(default_factory=list)

    def _line(self, mark: str, rest: str) -> Iterator[str]:
        match mark:
            case "?":
                yield from self._open(*rest.partition("?")[::2])
            case "$":
                self.settled = rest.encode()
            case ">" | ">>":
                yield from self._step(self._surface().receive(rest if mark == ">" else bytes(int(rest)), 0))
            case "!":
                yield from self._step(self._surface().emit(event(rest), 0))
            case _:
                raise ValueError(mark)

    def _surface(self) -> Realtime:
        assert self.surface is not None, "no opening was accepted"
        return self.surface

    def _open(self, path: str, query: str) -> Iterator[str]:
        offered = tuple(filter(None, self.headers.pop("sec-websocket-protocol", "").split(", ")))
        asked = tuple(parse_qsl(query, keep_blank_values=True))
        opening = Opening("GET", path, asked, dict(self.headers), offered, REQUEST_ID, settled=self.settled)
        self.headers.clear()
        self.settled = self.surface = None
        endpoint = RealtimeEndpoint()
        try:
            accepted = endpoint.negotiate(opening)
        except errors.AntiphonError as error:
            answer = endpoint.refuse(opening, error)
            yield f"< {answer.status}"
            yield f"< {answer.body.decode()}"
            return
        self.surface = accepted.surface
        yield "< 101"
        if accepted.subprotocol is not None:
            yield f"< sec-websocket-protocol: {accepted.subprotocol}"
        yield f"= {differing(accepted.spec)}"

    def _step(self, step: Step) -> Iterator[str]:
        for each in step.inputs:
            if isinstance(each, inputs.Reject):  # which the conversation answers in its turn
                yield from self._step(self._surface().emit(outputs.Refused(each.error, each.event_id), 0))
            else:
                yield f"= {given(each)}"
        for send in step.sends:
            assert isinstance(send, str)
            self.sent.append(send)
            yield f"< {send}"
        if step.close is not None:
            yield f"x {step.close.code} {step.close.reason}"


def event(text: str) -> ConversationOutput:
    said: ConversationOutput = eval(text, WORDS)
    return said


def differing(asked: ConverseSpec, base: ConverseSpec | None = None) -> str:
    """What is otherwise than in `base`, or usually."""
    usual = base or ConverseSpec()
    told = (each.name for each in fields(asked) if getattr(asked, each.name) != getattr(usual, each.name))
    return f"ConverseSpec({', '.join(f'{name}={getattr(asked, name)!r}' for name in told)})"


def given(value: Any) -> str:
    told = [len(value.data)] if isinstance(value, AppendAudio) else []
    for each in fields(value):
        found = getattr(value, each.name)
        if each.repr and found != each.default and each.name != "base":
            shown = differing(found, value.base) if isinstance(found, ConverseSpec) else repr(found)
            told.append(f"{each.name}={shown}")
    return f"{type(value).__name__}({', '.join(map(str, told))})"
