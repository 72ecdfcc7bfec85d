"""A vendor of language that says everything plainly."""

from antiphon.core.endpoints import AnswerRequest
from antiphon.core.events import ChoiceEnded, Completed, Embedded, Failed, Opened, TextDelta
from antiphon.core.specs import EmbedSpec, GenerateSpec
from antiphon.core.wire import NOTHING, Close, Head, Response, Step, bearer

PLAIN = (("content-type", "text/vendor"),)


class Plain:
    """Says deltas as they come (`stream`), or all at the end. `breaks` is an event's type at which it is defective."""

    def __init__(self, stream, breaks=None, unending=False):
        self.stream = stream
        self.breaks = breaks
        self.unending = unending
        self.text = ""
        self.begun = False

    def emit(self, event, now_ns):
        if self.breaks and isinstance(event, self.breaks):
            raise ValueError("the caller's words")
        close = None if self.unending else Close()
        match event:
            case Opened() if self.stream == "at once":
                self.begun = True
                return Step(sends=(Head(200, PLAIN),))
            case TextDelta() if self.stream:
                head = () if self.begun else (Head(200, PLAIN),)
                self.begun = True
                return Step(sends=(*head, event.text))
            case TextDelta():
                self.text += event.text
            case Embedded():
                self.text = str(len(event.vectors))
            case Completed():
                return Step(sends=("|",) if self.stream else (Head(200, PLAIN), self.text), close=close)
            case Failed():
                head = () if self.begun else (Head(event.error.status, PLAIN),)
                return Step(sends=(*head, event.error.code), close=close)
            case ChoiceEnded():
                pass
        return NOTHING


class Endpoint:
    """The body is the prompt. `error` is what `negotiate` raises; `spec` more of the spec."""

    max_body_bytes = 1_000_000

    def __init__(self, surface=None, error=None, **spec):
        self.surface = surface or Plain(stream=spec.get("stream", False))
        self.error = error
        self.spec = spec

    def credential(self, opening, first=None):
        return bearer(opening.headers.get("authorization", ""))

    def refuse(self, opening, error):
        return Response(error.status, PLAIN, error.code.encode())

    def negotiate(self, opening, body):
        if self.error:
            raise self.error
        if self.spec.get("model") == "vectors":
            return AnswerRequest(EmbedSpec("vectors", (body.decode(),)), self.surface)
        return AnswerRequest(GenerateSpec(**{"model": "counter", "prompt": body.decode()} | self.spec), self.surface)
