"""Conversion of tokens to text: the vocabulary, words with confidences, and loops in an output.

Pure functions over a model's own tokens, without graphs or arrays. The pieces of a hypothesis always join to its text:
a character of several byte tokens belongs to the last of them.
"""

import codecs
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from math import exp
from pathlib import Path

from antiphon.core.audio import SAMPLE_RATE
from antiphon.core.errors import EngineError

START = 1
END = 2
# The fastest speech has less than 6.5 tokens per second; more than that, plus a margin for short clips, is a loop. The
# margin grows to its full size, because in a fraction of a second the model recognises as many words as it may.
TOKENS_PER_SECOND = 6.5
SPARE_TOKENS = 4
SPARE_PER_SECOND = 5
# An n-gram at the end of the output that is repeated this often in a row is a loop: (longest n, repeats).
_REPEATS = ((1, 8), (3, 5), (6, 4), (24, 3))
_MARKS = frozenset(",;:.!?")
_ELLIPSIS = "..."
_BLANK = " " + "".join(sorted(_MARKS))
_SPACE = "\u2581".encode()


def read_vocabulary(path: Path) -> tuple[bytes, ...]:
    """Return the pieces of `tokenizer.bin`, a sequence of (length, bytes); a length of 128 or more takes two bytes.

    Pieces have real spaces. Control pieces, which are not text, are empty. Raises `EngineError`.
    """
    raw = path.read_bytes()
    pieces: list[bytes] = []
    at = 0
    while at < len(raw):
        length = raw[at]
        at += 1
        if length >= 128:
            if at == len(raw):
                raise EngineError(f"{path.name} is cut short")
            length += (raw[at] - 1) * 128
            at += 1
        piece = raw[at : at + length]
        if len(piece) < length:
            raise EngineError(f"{path.name} is cut short")
        at += length
        pieces.append(piece.replace(_SPACE, b" "))
    if len(pieces) <= END:
        raise EngineError(f"{path.name} holds no vocabulary")
    control = {b"<unk>", b"<s>", b"</s>"}
    return tuple(b"" if piece in control or piece.startswith(b"<<ST_") else piece for piece in pieces)


def latin(vocabulary: Sequence[bytes], multiple: int = 1) -> list[int]:
    """Return the tokens of an English transcript: Latin letters, digits, punctuation, and the end.

    The vocabulary is multilingual. From a fraction of a second of sound the model may recognise Chinese; it never
    should, and not scoring the rest of the vocabulary is faster. Control tokens, which never occur, fill up to a
    `multiple`.
    """
    kept = [END, *(token for token, piece in enumerate(vocabulary) if piece and _is_latin(piece))]
    control = [token for token, piece in enumerate(vocabulary) if not piece and token != END]
    return kept + control[: -len(kept) % multiple]


def _is_latin(piece: bytes) -> bool:
    try:
        text = piece.decode()
    except UnicodeDecodeError:
        return False
    return all(
        " " <= char <= "~" or char in "£€°’‘“”–—…" or unicodedata.name(char, "").startswith("LATIN") for char in text
    )


def to_tokens(text: str, ids: Mapping[bytes, int]) -> list[int]:
    """Return the text in the model's own tokens: byte-pair encoding, joining those two pieces first whose joint piece
    comes first in the vocabulary. `ids` are the pieces' places in it.
    """
    pieces = [character.encode() for character in text]
    while True:
        joints = [(ids[a + b], i) for i, (a, b) in enumerate(pairwise(pieces)) if a + b in ids]
        if not joints:
            break
        i = min(joints)[1]
        pieces[i : i + 2] = [pieces[i] + pieces[i + 1]]
    return [ids[part] for piece in pieces for part in _known(piece, ids)]


def _known(piece: bytes, ids: Mapping[bytes, int]) -> Iterable[bytes]:
    """Return a piece; if the vocabulary lacks it, its bytes that the vocabulary has."""
    return (piece,) if piece in ids else (byte for byte in (bytes([n]) for n in piece) if byte in ids)


def to_pieces(tokens: Sequence[int], vocabulary: Sequence[bytes]) -> tuple[str, ...]:
    """Return the text of each token. Bytes that are not UTF-8 become U+FFFD; the text has no leading space. A mark that
    the model wrote twice in a row is kept once, and marks without a word are not text.
    """
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    pieces = [decoder.decode(vocabulary[token], final=i == len(tokens) - 1) for i, token in enumerate(tokens)]
    if not any(char.isalnum() for piece in pieces for char in piece):
        return ("",) * len(pieces)
    before = ""
    for i, piece in enumerate(pieces):
        pieces[i] = _single(piece, before)
        before = pieces[i].rstrip(" ")[-1:] or before
    for i, piece in enumerate(pieces):
        pieces[i] = piece.lstrip(" ")
        if pieces[i]:
            break
    return tuple(pieces)


def _single(piece: str, before: str) -> str:
    """Return the piece without marks that repeat the one before, and without the space between them; some pieces
    contain two marks. An ellipsis that is one piece stays.
    """
    if _MARKS.isdisjoint(piece) or (piece.strip(" ") == _ELLIPSIS and before != "."):
        return piece
    kept = ""
    for char in piece:
        last = kept.rstrip(" ")[-1:] or before
        if char == last and char in _MARKS:
            kept = kept.rstrip(" ")
        else:
            kept += char
    return kept


def following(pieces: Sequence[str], begin: int) -> tuple[str, ...]:
    """Return the pieces from a token on, as a text of its own: without the marks that end the text before."""
    own = list(pieces[begin:])
    for i, piece in enumerate(own if begin else ()):
        own[i] = "" if not piece.strip(_BLANK) else piece.lstrip(" ")
        if own[i]:
            break
    return tuple(own)


def word_spans(pieces: Sequence[str]) -> list[tuple[int, int]]:
    """Return the half-open token range of every word; words begin at a space."""
    starts = [0]
    for i in range(1, len(pieces)):
        if pieces[i].startswith(" ") and "".join(pieces[starts[-1] : i]).strip():
            starts.append(i)
    ends = [*starts[1:], len(pieces)]
    return [(start, end) for start, end in zip(starts, ends, strict=True) if "".join(pieces[start:end]).strip()]


def confidence(logprobs: Sequence[float]) -> float:
    """Return the geometric mean of the tokens' probabilities, 0 to 1; 0 for no tokens."""
    return min(1.0, exp(sum(logprobs) / len(logprobs))) if logprobs else 0.0


def most_tokens(samples: int, per_second: float = TOKENS_PER_SECOND) -> int:
    """Return the most tokens that a plausible transcript of so many samples has, at 16 kHz."""
    spare = min(SPARE_TOKENS, 1 + samples * SPARE_PER_SECOND // SAMPLE_RATE)
    return int(samples * per_second / SAMPLE_RATE) + spare


def loop_start(tokens: Sequence[int], *, full: bool = False) -> int | None:
    """Return where to cut if the tokens end in an n-gram repeated too often: after its first copy. Else `None`.

    In a `full` output, which has the maximum length, a second copy is too often.
    """
    shortest = 1
    for longest, repeats in _REPEATS:
        for n in range(shortest, longest + 1):
            again = n * (1 if full else repeats - 1)
            if again + n > len(tokens):
                return None
            if tokens[-again:] == tokens[-again - n : -n]:
                cut = len(tokens) - again
                while cut > n and tokens[cut - 1] == tokens[cut - 1 - n]:
                    cut -= 1
                return cut
        shortest = longest + 1
    return None
