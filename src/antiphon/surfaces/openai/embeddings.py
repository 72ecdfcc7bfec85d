"""`POST /v1/embeddings`: returns a vector for each input, a text or a list of the model's own tokens.

Vectors are numbers, or base64 of their little-endian 32-bit floats, the official SDKs' default. `dimensions` is
honoured if it is the model's own: a shortened vector means little if the model was not trained for it. `user` only
labels a call for its sender.
"""

from binascii import b2a_base64
from collections.abc import Sequence
from struct import pack
from typing import Annotated, Literal

from msgspec import Meta, Struct
from msgspec.json import Decoder, Encoder

from antiphon.core.endpoints import AnswerRequest
from antiphon.core.errors import CallerError
from antiphon.core.events import Embedded, Failed, LanguageOutput, Opened
from antiphon.core.specs import EmbedSpec
from antiphon.core.wire import NOTHING, Close, Head, Opening, Step, lifecycle, no_effect
from antiphon.surfaces.openai import wire
from antiphon.surfaces.openai.addressing import model_of
from antiphon.surfaces.openai.generation import check_count, decode, one_of

OWN_MODELS = "text-embedding-"  # OpenAI's models: their lists of tokens are of OpenAI's tokenizer
MAX_INPUTS = 2048  # OpenAI's own limit
MAX_TOKENS = 300_000  # of all lists of tokens together: OpenAI's own limit
MAX_BODY_BYTES = 4 << 20  # 300,000 tokens, OpenAI's own limit, are fewer


class EmbeddingRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """The body. `None` means absent or null."""

    input: str | list[str | int | list[int]]
    model: str | None = None
    encoding_format: str | None = None
    dimensions: Annotated[int, Meta(ge=1)] | None = None
    user: str | None = None
    truncate_prompt_tokens: Literal[-1] | None = None  # load tools send it; too long a text is still refused


class Embedding(Struct, frozen=True):
    index: int
    embedding: tuple[float, ...] | str
    object: Literal["embedding"] = "embedding"


class Usage(Struct, frozen=True):
    prompt_tokens: int
    total_tokens: int


class EmbeddingList(Struct, frozen=True):
    data: list[Embedding]
    model: str
    usage: Usage
    object: Literal["list"] = "list"


_decoder = Decoder(EmbeddingRequest)
_encode = Encoder().encode


class Embeddings(wire.Endpoint):
    """The endpoint."""

    max_body_bytes = MAX_BODY_BYTES

    def negotiate(self, opening: Opening, body: bytes) -> AnswerRequest:
        """Return the body as a spec. Raises a `CallerError`, whose `param` is the field's name."""
        request = decode(_decoder, body)
        one_of(request.encoding_format, ("float", "base64"), "encoding_format")
        model = model_of(opening, request.model)
        foreign = model.startswith(OWN_MODELS)
        spec = EmbedSpec(model, _texts(request.input), request.dimensions, foreign_tokens=foreign)
        unused = no_effect(("truncate_prompt_tokens",) if request.truncate_prompt_tokens else ())
        return AnswerRequest(spec, EmbeddingCall(self, opening, request.encoding_format == "base64", unused))


def _texts(inputs: str | list[str | int | list[int]]) -> tuple[str | tuple[int, ...], ...]:
    """Return the inputs: one text, one list of tokens, or a list of either."""
    if isinstance(inputs, list):
        listed = sum(len(each) for each in inputs if isinstance(each, list))
        check_count(max(listed, sum(isinstance(each, int) for each in inputs)), MAX_TOKENS, "input")
    items: Sequence[str | int | list[int]] = [inputs] if isinstance(inputs, str) else inputs
    tokens = [each for each in items if isinstance(each, int)]
    if tokens and len(tokens) == len(items):
        items = [tokens]
    texts = tuple(each if isinstance(each, str) else tuple(each) for each in items if not isinstance(each, int))
    if len(texts) < len(items) or len({type(text) for text in texts}) > 1:
        raise CallerError("'input' is a text, a list of texts, a list of tokens, or a list of such.", param="input")
    check_count(len(texts), MAX_INPUTS, "input")
    if not texts or not all(texts):
        raise CallerError("'input' may not be empty, nor may an item of it.", param="input")
    return texts


class EmbeddingCall:
    """One call: renders its vectors."""

    def __init__(
        self, endpoint: Embeddings, opening: Opening, base64: bool, unused: tuple[tuple[str, str], ...]
    ) -> None:
        self._endpoint = endpoint
        self._opening = opening
        self._base64 = base64
        self._unused = unused
        self._opened = Opened("")

    def emit(self, event: LanguageOutput, now_ns: int) -> Step:
        match event:
            case Opened():
                self._opened = event
            case Embedded():
                headers = wire.headers(self._opening, wire.JSON) + lifecycle(self._opened) + self._unused
                headers += wire.rate_headers(self._opened.rates)
                return Step(sends=(Head(200, headers), self._body(event)), close=Close())
            case Failed():
                refusal = self._endpoint.refuse(self._opening, event.error)
                return Step(sends=(Head(refusal.status, refusal.headers), refusal.body), close=Close())
        return NOTHING

    def _body(self, embedded: Embedded) -> bytes:
        data = [
            Embedding(number, _packed(vector) if self._base64 else vector)
            for number, vector in enumerate(embedded.vectors)
        ]
        usage = Usage(embedded.input_tokens, embedded.input_tokens)
        return _encode(EmbeddingList(data, self._opened.model, usage))


def _packed(vector: tuple[float, ...]) -> str:
    return b2a_base64(pack(f"<{len(vector)}f", *vector), newline=False).decode()
