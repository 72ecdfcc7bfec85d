"""Transcribe a recording with Deepgram's own SDK.

ANTIPHON_API_KEY=... python examples/deepgram_file.py speech.mp3
"""

import os
import sys
from pathlib import Path

from deepgram import DeepgramClient
from deepgram.environment import DeepgramClientEnvironment

url = os.environ.get("ANTIPHON_URL", "http://127.0.0.1:8080")
live_url = url.replace("http", "ws", 1)
client = DeepgramClient(
    api_key=os.environ["ANTIPHON_API_KEY"],
    environment=DeepgramClientEnvironment(base=url, production=live_url, agent=live_url, agent_rest=url),
)
answer = client.listen.v1.media.transcribe_file(
    request=Path(sys.argv[1]).read_bytes(), model="nova-3", smart_format=True, utterances=True
)
for utterance in answer.results.utterances:
    print(f"{utterance.start:6.2f} s  {utterance.transcript}")
