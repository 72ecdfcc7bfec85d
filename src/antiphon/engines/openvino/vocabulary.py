"""Each token's bytes, so that text can be put together without a detokeniser.

Byte-level vocabularies contain a token's bytes. SentencePiece vocabularies write a space as U+2581 and a single byte as
`<0x0A>`. The tokenizer's answer for a sample text shows which kind it is.
"""

import re
from collections.abc import Callable
from typing import Any

_SAMPLE = "Say, 12 of them: naïve 東京 😀\n\tdone  twice. "
_BYTE = re.compile(rb"<0x([0-9A-F]{2})>")
_SPACE = "\u2581".encode()


def _plain(token: bytes) -> bytes:
    return token


def _sentence_piece(token: bytes) -> bytes:
    byte = _BYTE.fullmatch(token)
    return bytes.fromhex(byte[1].decode()) if byte else token.replace(_SPACE, b" ")


def vocabulary(tokenizer: Any) -> list[bytes]:
    """Return each token's bytes; empty for special tokens. Raises `ValueError` for an unknown kind."""
    tokens: dict[bytes, int] = tokenizer.get_vocab()
    table = [b""] * (max(tokens.values()) + 1)
    for token, number in tokens.items():
        table[number] = token
    bracketed = [n for n, token in enumerate(table) if token[:1] in (b"<", b"[") and token[-1:] in (b">", b"]")]
    shown = tokenizer.decode([[n] for n in bracketed], skip_special_tokens=True)
    special = {n for n, text in zip(bracketed, shown, strict=True) if not text}
    sample: list[int] = tokenizer.encode(_SAMPLE).input_ids.data[0].tolist()
    expected = tokenizer.decode(sample, skip_special_tokens=True).encode()
    kinds: tuple[Callable[[bytes], bytes], ...] = (_plain, _sentence_piece)
    for plain in kinds:
        found = [b"" if n in special else plain(token) for n, token in enumerate(table)]
        if b"".join(found[n] for n in sample).strip() == expected.strip():
            return found
    raise ValueError("the model's vocabulary is of an unknown kind")
