"""The protocol between a voice's process and a child that reads one text: a kind, a length and a payload, once each
way.

Every child inherits what is imported here, so that must be little.
"""

import struct

HEADER = struct.Struct("<cI")
TEXT = b"T"  # to the child: UTF-8
PHONEMES = b"P"  # from it: JSON, a list of phonemes for each sentence
FAILED = b"F"  # from it: the library made nothing of the text
DIED = b"D"  # from its parent: the number of the signal that ended it, one byte


def message(kind: bytes, payload: bytes = b"") -> bytes:
    return HEADER.pack(kind, len(payload)) + payload
