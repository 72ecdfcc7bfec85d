"""A language or an embedding model behind OpenAI's API, as an engine.

What one network read brings is passed on as one tuple of events; nothing is held back, except the final token count: it
is sent once the server's answer has ended, so that its connection can serve the next call. Closing the generator closes
the connection at once, and a server that notices stops generating. From a server that notices it with streams alone, a
whole answer is requested as a stream, and passed on when it is whole, so that it can be given up.
"""

from collections.abc import AsyncGenerator, Iterator, Sequence
from dataclasses import replace

import msgspec

from antiphon.core.capabilities import Ability, images
from antiphon.core.errors import CallerError, EngineError
from antiphon.core.events import Embedded, Generated, TokenUsage
from antiphon.core.ports import Clock, EngineCall
from antiphon.core.specs import GenerateSpec
from antiphon.engines.openai_compatible import request
from antiphon.engines.openai_compatible.answer import Chunk, Count, Translation, decode
from antiphon.engines.openai_compatible.client import Exchange, Limits, Upstream
from antiphon.engines.openai_compatible.presets import PRESETS, Counts
from antiphon.engines.openai_compatible.sse import EventSplitter

QUOTED_CHARS = 4096  # of a picture, whose beginning a server might quote

_DONE = b"[DONE]"
_END = b"\n\n"  # of the last event, which some servers do not end
_LIMITS = Limits()


class _Server:
    """What both kinds of model share: a server of the kind `preset` (a key of `PRESETS`)."""

    def __init__(
        self, url: str, model: str, preset: str, clock: Clock, api_key: str | None = None, limits: Limits = _LIMITS
    ) -> None:
        self._model = model
        self._preset = PRESETS[preset]
        self._upstream = Upstream(url, self._preset, model, api_key, clock, limits)

    @property
    def outstanding(self) -> int:
        """The number of running calls."""
        return self._upstream.outstanding

    async def check(self) -> None:
        """Check that the server can take calls. Raises `EngineError` if not."""
        await self._upstream.check()

    async def close(self) -> None:
        """Close the connections, and cancel running calls."""
        await self._upstream.close()


class OpenAICompatible(_Server):
    """A `core.ports.Generator`. `cannot` is what its model cannot do, though the server could."""

    def __init__(
        self,
        url: str,
        model: str,
        preset: str,
        clock: Clock,
        api_key: str | None = None,
        limits: Limits = _LIMITS,
        cannot: frozenset[Ability] = frozenset(),
    ) -> None:
        super().__init__(url, model, preset, clock, api_key, limits)
        self.abilities = self._preset.abilities - cannot

    async def generate(
        self, spec: GenerateSpec, call: EngineCall
    ) -> AsyncGenerator[tuple[Generated | TokenUsage, ...], None]:
        """Generate an answer, as the port defines it."""
        server_spec = spec if spec.stream or spec.tools or self._preset.gives_up else replace(spec, stream=True)
        path, body = request.generation(server_spec, self._model, self._preset)
        exchange = self._upstream.post(path, request.encode(body), call, _contents(spec))
        translation = Translation(spec, call.id, self._preset.counts is Counts.ALWAYS)
        async with exchange:
            if not server_spec.stream:
                yield translation.whole(_chunk(await exchange.read_all(), exchange, translation))
                return
            limits = self._upstream.limits
            splitter = EventSplitter(limits.event_bytes)
            events: list[Generated | TokenUsage] = []
            length = 0
            done = False
            while not done:
                received = await exchange.read_some()
                length += len(received)
                for payload in splitter.feed(received or _END):
                    if payload == _DONE:
                        done = True
                        break
                    try:
                        translation.chunk(events, _chunk(payload, exchange, translation))
                    except EngineError:
                        if received or not translation.ended:
                            raise  # else it is the beginning of an event after the answer
                done = done or not received
                if done and exchange.at_end:
                    break
                if not spec.stream and length > limits.answer_bytes:
                    raise EngineError(f"The model's server answered with more than {limits.answer_bytes} bytes.")
                if spec.stream and events:
                    yield tuple(events)
                    events = []
            if not translation.ended:
                raise EngineError("The model's server broke off its answer.")
            await exchange.finish()
            yield (*events, translation.usage())


def _chunk(data: bytes, exchange: Exchange, translation: Translation) -> Chunk:
    """Decode a chunk. An error in its place may be the caller's until the answer has begun; then it is the engine's."""
    chunk = decode(data)
    if chunk.error is None:
        return chunk
    if translation.begun:
        raise EngineError("The model's server failed while it was answering.")
    raise exchange.late_refusal(data)


def _contents(spec: GenerateSpec) -> Iterator[str]:
    """Yield all content of the caller that no error may repeat."""
    if isinstance(spec.prompt, str):
        yield spec.prompt
    else:
        for message in spec.prompt:
            yield message.text
            for image in images((message,)):
                yield image.url[:QUOTED_CHARS]
            for called in message.tool_calls:
                yield called.arguments
    yield from spec.sampling.stop
    yield from spec.sampling.bad_words
    yield spec.format.schema
    for tool in spec.tools:
        yield tool.description
        yield tool.parameters


class _Vector(msgspec.Struct):
    embedding: list[float]
    index: int = 0


class _Read(msgspec.Struct):
    prompt_tokens: Count = 0


class _Vectors(msgspec.Struct):
    data: list[_Vector]
    usage: _Read | None = None


_VECTORS = msgspec.json.Decoder(_Vectors)


class OpenAICompatibleEmbedder(_Server):
    """A `core.ports.Embedder`."""

    async def embed(self, texts: Sequence[str | tuple[int, ...]], call: EngineCall) -> Embedded:
        """Embed texts, as the port defines it."""
        if not self._preset.embeddings:
            raise CallerError("This model's server has no embeddings.", param="model")
        if not self._preset.one_text:
            return await self._embed(list(texts), len(texts), texts, call)
        each = [await self._embed(text, 1, [text], call) for text in texts]
        return Embedded(tuple(one.vectors[0] for one in each), sum(one.input_tokens for one in each))

    async def _embed(
        self, input_: object, count: int, texts: Sequence[str | tuple[int, ...]], call: EngineCall
    ) -> Embedded:
        body = request.encode({"model": self._model, "input": input_, "encoding_format": "float"})
        contents = [text for text in texts if isinstance(text, str)]
        async with self._upstream.post(request.EMBEDDINGS, body, call, contents) as exchange:
            answer = await exchange.read_all()
        try:
            embeddings = _VECTORS.decode(answer)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise EngineError("The model's server answered in a form that is not OpenAI's.") from None
        if sorted(vector.index for vector in embeddings.data) != list(range(count)):
            raise EngineError("The model's server did not return one embedding for each text.")
        if len({len(vector.embedding) for vector in embeddings.data}) > 1 or not all(
            vector.embedding for vector in embeddings.data
        ):
            raise EngineError("The model's server returned embeddings of different lengths, or empty ones.")
        vectors = sorted(embeddings.data, key=lambda vector: vector.index)
        read = embeddings.usage.prompt_tokens if embeddings.usage else 0
        return Embedded(tuple(tuple(vector.embedding) for vector in vectors), read or _estimated(texts))


def _estimated(texts: Sequence[str | tuple[int, ...]]) -> int:
    return sum(-(-len(text.encode()) // 4) if isinstance(text, str) else len(text) for text in texts)
