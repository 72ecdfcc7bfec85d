"""Stream a WAV file as if it were a microphone, with Deepgram's own SDK, and print words as they are recognised.

ANTIPHON_API_KEY=... python examples/deepgram_live.py speech.wav
"""

import os
import sys
import threading
import time
import wave

from deepgram import DeepgramClient
from deepgram.environment import DeepgramClientEnvironment
from deepgram.listen.v1.types import ListenV1Results

CHUNK_S = 0.1

url = os.environ.get("ANTIPHON_URL", "http://127.0.0.1:8080")
live_url = url.replace("http", "ws", 1)
client = DeepgramClient(
    api_key=os.environ["ANTIPHON_API_KEY"],
    environment=DeepgramClientEnvironment(base=url, production=live_url, agent=live_url, agent_rest=url),
)

with (
    wave.open(sys.argv[1]) as speech,
    client.listen.v1.connect(
        model="nova-3",
        encoding="linear16",
        sample_rate=speech.getframerate(),
        channels=speech.getnchannels(),
        interim_results=True,
        smart_format=True,
    ) as connection,
):

    def speak() -> None:
        while chunk := speech.readframes(int(speech.getframerate() * CHUNK_S)):
            connection.send_media(chunk)
            time.sleep(CHUNK_S)
        connection.send_close_stream()

    speaker = threading.Thread(target=speak)
    speaker.start()
    for message in connection:
        if isinstance(message, ListenV1Results) and (text := message.channel.alternatives[0].transcript):
            print("final  " if message.is_final else "interim", text, flush=True)
    speaker.join()
