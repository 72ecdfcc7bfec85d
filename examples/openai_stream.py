"""Transcribe a recording with OpenAI's own SDK, and print the text as it comes.

ANTIPHON_API_KEY=... python examples/openai_stream.py speech.m4a
"""

import os
import sys
from pathlib import Path

from openai import OpenAI

url = os.environ.get("ANTIPHON_URL", "http://127.0.0.1:8080")
client = OpenAI(base_url=f"{url}/v1", api_key=os.environ["ANTIPHON_API_KEY"])
events = client.audio.transcriptions.create(model="gpt-4o-transcribe", file=Path(sys.argv[1]), stream=True)
for event in events:
    if event.type == "transcript.text.delta":
        print(event.delta, end="", flush=True)
print()
