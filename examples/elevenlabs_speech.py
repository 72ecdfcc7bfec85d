"""Speak what a recording says in another voice: OpenAI's SDK hears it, ElevenLabs' own SDK says it, as an MP3 file.

ANTIPHON_API_KEY=... python examples/elevenlabs_speech.py speech.wav [spoken.mp3]
"""

import os
import sys
from pathlib import Path

from elevenlabs import ElevenLabs
from openai import OpenAI

url = os.environ.get("ANTIPHON_URL", "http://127.0.0.1:8080")
key = os.environ["ANTIPHON_API_KEY"]
transcript = OpenAI(base_url=f"{url}/v1", api_key=key).audio.transcriptions.create(
    model="whisper-1", file=Path(sys.argv[1])
)
print(transcript.text)

client = ElevenLabs(base_url=url, api_key=key)
spoken = b"".join(
    client.text_to_speech.stream("JBFqnCBsd6RMkjVDRZzb", text=transcript.text, model_id="eleven_flash_v2_5")
)
print(f"{len(spoken):,} bytes of MP3")
if len(sys.argv) > 2:
    Path(sys.argv[2]).write_bytes(spoken)
