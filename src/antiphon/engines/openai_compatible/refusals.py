"""A server's refusals, as our errors: those that have a status, and those that stand in the place of an answer.

Errors are classified by `blame`. A server's message reaches the caller only for errors of the caller, cut to
`MESSAGE_CHARS` characters, and not if it contains any `ECHO_CHARS` characters in a row of the caller's input: messages
must contain no content, and some servers quote their input. With an input of more than `MOST_COMPARED_CHARS` it never
does, since comparing blocks the event loop.
"""

import re
from collections.abc import Iterable

import msgspec

from antiphon.core.capabilities import Ability
from antiphon.core.errors import (
    AntiphonError,
    CallerError,
    CapacityError,
    ContextLengthExceeded,
    EngineError,
    EngineMisconfigured,
    EngineTimeout,
)

MESSAGE_CHARS = 300
ECHO_CHARS = 12
MOST_COMPARED_CHARS = 1_000_000
LEAST_ECHO_CHARS = 4  # a shorter prompt cannot be distinguished from the server's own words

# Parameters that a server may blame; any other name may be content.
PARAMETERS = frozenset(
    {"messages", "input", "dimensions", "max_tokens", "max_completion_tokens", "temperature", "top_p", "stop", "tools"}
    | {"presence_penalty", "frequency_penalty", *Ability}
)

# How servers say that a prompt is too long: OpenAI, vLLM, SGLang and Ollama name the context's length, llama.cpp its
# size, older versions of vLLM the model's length, TensorRT-LLM its own limits.
_TOO_LONG_CODES = ("context_length_exceeded", "exceed_context_size_error")
_TOO_LONG = re.compile(
    r"context (length|size|window)|maximum (model|sequence|input) length|max_(seq|input)_len|max_num_tokens",
    re.IGNORECASE,
)

_FULL = frozenset({429, 503})
_LATE = frozenset({408, 504})  # Ray Serve uses 408 for its own time limit
_STATUS = re.compile("[45][0-9]{2}")
_CALLERS = frozenset({400, 413, 414, 415, 422, 431})


def blame(status: int) -> type[AntiphonError]:
    """Return the error for a status. Other 4xx are our errors: the credential (401), the address and the model's name
    (404), or a gateway that refuses us (403); a caller's content may cause them too, so they say nothing about the
    server's health.
    """
    if status in _FULL:
        return CapacityError
    if status in _LATE:
        return EngineTimeout
    if status in _CALLERS:
        return CallerError
    return EngineMisconfigured if 400 <= status < 500 else EngineError


def refusal(status: int, body: bytes, content: Iterable[str], retry_after_s: int = 1) -> AntiphonError:
    """Return the error for an answer with another status than 200. It quotes none of `content`."""
    blamed = blame(status)
    if blamed is CapacityError:
        return CapacityError("The model's server is full.", retry_after_s=retry_after_s)
    if blamed is EngineTimeout:
        return EngineTimeout("The model took too long.")
    if blamed is not CallerError:
        return blamed(f"The model's server answered {status}.")
    message, param, codes = _error_fields(body)
    too_long = any(code in codes for code in _TOO_LONG_CODES) or bool(_TOO_LONG.search(message))
    if _quotes(message, content):
        message = ""
    kind: type[CallerError] = CallerError
    if too_long:
        kind = ContextLengthExceeded
        if kind.WORDS not in message[:MESSAGE_CHARS]:
            message = f"This model's {kind.WORDS} is exceeded. {message}".rstrip()
    message = message or "The model's server refused the request."
    return kind(message[:MESSAGE_CHARS], param=param if param in PARAMETERS else None)


def late_refusal(answer: bytes, content: Iterable[str]) -> AntiphonError:
    """Return the error that a server with status 200 sent in the place of an answer. vLLM and SGLang examine some
    parameters only after a stream's status has been sent, and then give the status as the error's code.
    """
    _, _, codes = _error_fields(answer)
    status = next((int(code) for code in map(str, codes) if _STATUS.fullmatch(code)), None)
    return refusal(status, answer, content) if status else EngineError("The model's server failed.")


class _Error(msgspec.Struct):
    message: str | None = None
    param: str | None = None
    code: object = None
    type: object = None


class _Refusal(msgspec.Struct):
    """The known forms: OpenAI's `{"error": {...}}`; SGLang's and TensorRT-LLM's bare object; FastAPI's `{"detail":
    "..."}`.
    """

    error: _Error | str | None = None
    message: str | None = None
    param: str | None = None
    code: object = None
    type: object = None
    detail: object = None


def _error_fields(body: bytes) -> tuple[str, str | None, tuple[object, ...]]:
    """Return the message, the parameter and the error's names; empty if the form is unknown."""
    try:
        refusal = msgspec.json.decode(body, type=_Refusal)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return "", None, ()
    error = refusal.error
    if isinstance(error, _Error):
        return error.message or "", error.param, (error.code, error.type)
    if error or refusal.message:
        return error or refusal.message or "", refusal.param, (refusal.code, refusal.type)
    return (refusal.detail, None, ()) if isinstance(refusal.detail, str) else ("", None, ())


def _quotes(message: str, content: Iterable[str]) -> bool:
    """Return whether `message` may repeat some of `content`."""
    shown = message[:MESSAGE_CHARS]
    pieces = [shown[at : at + ECHO_CHARS] for at in range(max(1, len(shown) - ECHO_CHARS + 1))]
    left = MOST_COMPARED_CHARS
    for text in content:
        left -= len(text)
        if left < 0:
            return True
        text = text.strip()
        if LEAST_ECHO_CHARS <= len(text) < ECHO_CHARS:
            if text in shown:
                return True
        elif any(piece in text for piece in pieces):
            return True
    return False
