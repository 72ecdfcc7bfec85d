"""The protocol between the server and a decoder process: frames of a kind, a channel count, a length and a payload.

The two sides keep step. The server sends one `JOB`, and then only after a `MORE`: the next message of a live stream as
`DATA`, or a whole recording as `DATA` and `END`. After `MORE` a decoder only reads. So neither side can fill the
other's buffers, and a slow reader slows its writer.
"""

import json
import struct
from dataclasses import dataclass
from enum import IntEnum

HEADER = struct.Struct("<BBI")

PID = struct.Struct("<i")


class Kind(IntEnum):
    JOB = 1  # server: the task, JSON
    DATA = 2  # server: the caller's bytes
    END = 3  # server: no more of them
    PCM = 4  # decoder: 16 kHz int16, one channel's samples after the other's, of equal length
    MORE = 5  # decoder: ready; all input is used up and its output sent. The first contains its `PID`
    DONE = 6  # decoder: all decoded
    FAIL = 7  # decoder: a `Verdict` and a message
    DIED = 8  # the decoder's parent: the number of the signal that ended it, one byte


class Verdict(IntEnum):
    """Why there will be no audio."""

    BAD_MEDIA = 1
    TOO_LARGE = 2
    DEFECT = 3


@dataclass(frozen=True, slots=True)
class Job:
    """A decoder's task. `max_audio_ms` counts decoded audio of all output channels: of the whole recording, or if
    `live` of one message. `opus_channels` is set for bare Opus packets, one per message.
    """

    live: bool
    split: bool
    max_audio_ms: int
    cpu_s: int
    opus_channels: int = 0

    def encode(self) -> bytes:
        return json.dumps([self.live, self.split, self.max_audio_ms, self.cpu_s, self.opus_channels]).encode()

    @classmethod
    def decode(cls, payload: bytes | bytearray) -> "Job":
        return cls(*json.loads(payload))


def header(kind: Kind, length: int = 0, channels: int = 0) -> bytes:
    return HEADER.pack(kind, channels, length)
