"""Transcribe a WAV file with ElevenLabs' own SDK: whole, with subtitles, and then as if it were a microphone, with a
token in place of the key, as a browser has it.

ANTIPHON_API_KEY=... python examples/elevenlabs_transcripts.py speech.wav
"""

import asyncio
import base64
import os
import sys
import wave
from pathlib import Path

from elevenlabs import AudioFormat, CommitStrategy, ElevenLabs, RealtimeEvents
from elevenlabs.types import ExportOptions_Srt

CHUNK_S = 0.1

url = os.environ.get("ANTIPHON_URL", "http://127.0.0.1:8080")
client = ElevenLabs(base_url=url, api_key=os.environ["ANTIPHON_API_KEY"])
transcript = client.speech_to_text.convert(
    model_id="scribe_v2", file=Path(sys.argv[1]).read_bytes(), additional_formats=[ExportOptions_Srt()]
)
print(transcript.text)
print(transcript.additional_formats[0].content)


async def listen() -> None:
    committed = asyncio.Event()
    with wave.open(sys.argv[1]) as speech:
        connection = await ElevenLabs(base_url=url, api_key="").speech_to_text.realtime.connect(
            {
                "model_id": "scribe_v2_realtime",
                "audio_format": AudioFormat(f"pcm_{speech.getframerate()}"),
                "sample_rate": speech.getframerate(),
                "commit_strategy": CommitStrategy.MANUAL,
                "token": client.tokens.single_use.create("realtime_scribe").token,
            }
        )

        def on_commit(message: dict[str, str]) -> None:
            print("committed", message["text"], flush=True)
            committed.set()

        connection.on(
            RealtimeEvents.PARTIAL_TRANSCRIPT, lambda message: print("partial  ", message["text"], flush=True)
        )
        connection.on(RealtimeEvents.COMMITTED_TRANSCRIPT, on_commit)
        connection.on(RealtimeEvents.ERROR, print)
        while chunk := speech.readframes(int(speech.getframerate() * CHUNK_S)):
            await connection.send({"audio_base_64": base64.b64encode(chunk).decode()})
            await asyncio.sleep(CHUNK_S)
        await connection.commit()
        await committed.wait()
        await connection.close()


asyncio.run(listen())
