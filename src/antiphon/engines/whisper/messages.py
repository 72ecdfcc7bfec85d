"""The messages between the server and Whisper's process. Both have one version, so structures are sent as arrays."""

import msgspec

from antiphon.engines.process import Unloadable


class Load(msgspec.Struct, tag=True, array_like=True, frozen=True):
    """Load a model. `path` is a folder with a CTranslate2 model. `workers` batches are computed at once."""

    path: str
    workers: int
    language: str


class Row(msgspec.Struct, array_like=True, frozen=True):
    """An utterance; see `core.ports.Utterance` and `Guidance`."""

    pcm: bytes
    prefix: tuple[int, ...] = ()
    languages: tuple[str, ...] = ()
    translate: bool = False
    prompt: str = ""
    keyterms: tuple[str, ...] = ()


class Recognise(msgspec.Struct, tag=True, array_like=True, frozen=True):
    number: int
    rows: tuple[Row, ...]


Command = Load | Recognise


class Ready(msgspec.Struct, tag=True, array_like=True, frozen=True):
    """The model is loaded, and recognises these languages (BCP 47). With several, it can translate into English."""

    languages: tuple[str, ...]


class Result(msgspec.Struct, array_like=True, frozen=True):
    """Tokens with their texts, natural log-probabilities and beginnings; `ends_ms` are their ends. `language` was given
    or detected; `language_confidence` is its probability.
    """

    tokens: tuple[int, ...]
    pieces: tuple[str, ...]
    logprobs: tuple[float, ...]
    starts_ms: tuple[int, ...]
    ends_ms: tuple[int, ...]
    looped: bool
    language: str = "en"
    language_confidence: float = 1.0


class Recognised(msgspec.Struct, tag=True, array_like=True, frozen=True):
    number: int
    results: tuple[Result, ...]


class Failed(msgspec.Struct, tag=True, array_like=True, frozen=True):
    number: int


Report = Ready | Unloadable | Recognised | Failed

command_decoder = msgspec.msgpack.Decoder(Command)
report_decoder = msgspec.msgpack.Decoder(Report)
