"""OpenAI's chat completions for a client: the needed fields of each message.

A stream is server-sent events, each one `data:` line with a JSON chunk, the last one `[DONE]`. Everything beyond the
protocol's core may be missing, so that any server with this protocol can be read.
"""

from collections.abc import Sequence

import msgspec

from antiphon.core.errors import AntiphonError, CallerError, CapacityError, EngineError

DONE = b"[DONE]"
OVER_CAPACITY = frozenset({429, 503})

Messages = Sequence[dict[str, object]]


class Usage(msgspec.Struct):
    prompt_tokens: int = 0
    completion_tokens: int = 0


class Delta(msgspec.Struct):
    """New text. Reasoning has two names in use."""

    content: str | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None
    tool_calls: msgspec.Raw = msgspec.Raw(b"")

    @property
    def holds_tokens(self) -> bool:
        calls = bytes(self.tool_calls) not in (b"", b"null", b"[]")
        return bool(self.content or self.reasoning or self.reasoning_content) or calls


class Choice(msgspec.Struct):
    """One choice: a chunk has `delta`, a whole answer `message`."""

    delta: Delta | None = None
    message: Delta | None = None
    finish_reason: str | None = None


class Completion(msgspec.Struct):
    """A chunk, or a whole answer. `error` is set if a stream fails after its head was sent."""

    choices: list[Choice] = msgspec.field(default_factory=list)
    usage: Usage | None = None
    error: msgspec.Raw = msgspec.Raw(b"")


decode = msgspec.json.Decoder(Completion).decode


class EventLines:
    """Splits the bytes of a stream into the data of its events."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [line[5:].strip() for line in lines if line.startswith(b"data:")]


def endpoint(url: str) -> str:
    """Return the full address, from an origin or from a base as in the OpenAI SDK (`.../v1`)."""
    base = url.rstrip("/")
    return f"{base}/chat/completions" if base.endswith("/v1") else f"{base}/v1/chat/completions"


def body(
    model: str,
    messages: Messages,
    *,
    stream: bool,
    max_tokens: int | None = None,
    temperature: float | None = None,
) -> dict[str, object]:
    """Return a request body with only what was asked for."""
    values: dict[str, object] = {"model": model, "messages": messages, "stream": stream}
    if stream:
        values["stream_options"] = {"include_usage": True}
    if max_tokens is not None:
        values["max_tokens"] = max_tokens
    if temperature is not None:
        values["temperature"] = temperature
    return values


def refused(status: int, answer: bytes) -> AntiphonError:
    """Return the error for a status other than 200, with the server's message."""
    if status in OVER_CAPACITY:
        return CapacityError(f"{reason(answer)} ({status})")
    blame = CallerError if 400 <= status < 500 else EngineError
    return blame(f"{reason(answer)} ({status})")


def reason(answer: bytes) -> str:
    """Return the message of an error, however nested."""
    try:
        found = msgspec.json.decode(answer)
    except msgspec.MsgspecError:
        return "the server failed"
    while isinstance(found, dict):
        found = found.get("error", found.get("message", found.get("detail")))
    return found if isinstance(found, str) else "the server failed"
