"""Stream a WAV file as if it were a microphone, with AssemblyAI's own SDK, and print turns as they are recognised.

ANTIPHON_API_KEY=... python examples/assemblyai_live.py speech.wav
"""

import os
import sys
import time
import wave
from collections.abc import Iterator

from assemblyai.streaming.v3 import (
    StreamingClient,
    StreamingClientOptions,
    StreamingError,
    StreamingEvents,
    StreamingParameters,
    TurnEvent,
)

CHUNK_S = 0.1

url = os.environ.get("ANTIPHON_URL", "http://127.0.0.1:8080")
options = StreamingClientOptions(api_host=url.replace("http", "ws", 1), api_key=os.environ["ANTIPHON_API_KEY"])
client = StreamingClient(options)


def on_turn(client: StreamingClient, turn: TurnEvent) -> None:
    if turn.turn_is_formatted or not turn.end_of_turn:
        print("turn   " if turn.end_of_turn else "partial", turn.transcript, flush=True)


def on_error(client: StreamingClient, error: StreamingError) -> None:
    print("error  ", error, file=sys.stderr)


def spoken(speech: wave.Wave_read) -> Iterator[bytes]:
    while chunk := speech.readframes(int(speech.getframerate() * CHUNK_S)):
        yield chunk
        time.sleep(CHUNK_S)


client.on(StreamingEvents.Turn, on_turn)
client.on(StreamingEvents.Error, on_error)
with wave.open(sys.argv[1]) as speech:
    client.connect(StreamingParameters(sample_rate=speech.getframerate(), format_turns=True))
    client.stream(spoken(speech))
client.disconnect(terminate=True)
