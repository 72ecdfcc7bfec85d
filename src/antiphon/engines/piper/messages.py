"""The messages between the server and a voice's process. Both have one version, so structures are sent as arrays.

The server asks for one piece at a time: `Speak` for a clause's first, `More` for each further one.
"""

import msgspec

from antiphon.engines.process import Unloadable

# -- to the voice ------------------------------------------------------------------------------------------------------


class Load(msgspec.Struct, tag=True, array_like=True, frozen=True):
    """Load a voice. `path` is a folder with one, or its .onnx. `workers` pieces are computed at once, by `threads`
    each.
    """

    path: str
    speaker: int
    workers: int
    threads: int


class Speak(msgspec.Struct, tag=True, array_like=True, frozen=True):
    """Begin a clause."""

    number: int
    text: str
    speed: float


class More(msgspec.Struct, tag=True, array_like=True, frozen=True):
    number: int


class Drop(msgspec.Struct, tag=True, array_like=True, frozen=True):
    """Drop the rest of a clause."""

    number: int


Command = Load | Speak | More | Drop

# -- from the voice ----------------------------------------------------------------------------------------------------


class Ready(msgspec.Struct, tag=True, array_like=True, frozen=True):
    """The voice is loaded. `language` is a BCP 47 tag."""

    sample_rate: int
    language: str


class Piece(msgspec.Struct, tag=True, array_like=True, frozen=True):
    """A piece of speech: 16-bit little-endian mono. The `last` one may be empty."""

    number: int
    pcm: bytes
    last: bool


class Failed(msgspec.Struct, tag=True, array_like=True, frozen=True):
    """The clause could not be spoken. `unspeakable` means that its text is the cause."""

    number: int
    unspeakable: bool


Report = Ready | Unloadable | Piece | Failed

command_decoder = msgspec.msgpack.Decoder(Command)
report_decoder = msgspec.msgpack.Decoder(Report)
