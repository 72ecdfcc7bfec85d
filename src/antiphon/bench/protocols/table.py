"""The protocols by name, with the stream class and the defaults of each."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import aiohttp

from antiphon.bench.protocols.amazon import AmazonLine
from antiphon.bench.protocols.assemblyai import AssemblyAiLine
from antiphon.bench.protocols.deepgram import DeepgramLine
from antiphon.bench.protocols.elevenlabs import ElevenLabsLine
from antiphon.bench.protocols.google import GoogleLine
from antiphon.bench.protocols.line import Line, Target


@dataclass(frozen=True, slots=True)
class LiveProtocol:
    """A protocol. `url` and `model` are the defaults of a server that is not configured otherwise."""

    line: Callable[[Target, aiohttp.ClientSession], Line]
    model: str
    url: str = "http://127.0.0.1:8080"


PROTOCOLS: Mapping[str, LiveProtocol] = {
    "deepgram": LiveProtocol(DeepgramLine, "nova-3"),
    "google": LiveProtocol(GoogleLine, "long", "grpc://127.0.0.1:50051"),
    "amazon": LiveProtocol(AmazonLine, "amazon-transcribe"),
    "assemblyai": LiveProtocol(AssemblyAiLine, "universal-streaming-english"),
    "elevenlabs": LiveProtocol(ElevenLabsLine, "scribe_v2_realtime"),
}
