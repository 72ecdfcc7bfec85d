"""Say a recording to a language model with OpenAI's own SDK, and print what was heard and what it answers, aloud.

ANTIPHON_API_KEY=... python examples/openai_conversation.py question.wav
"""

import base64
import os
import sys

import av
from openai import OpenAI

RATE = 24_000
url = os.environ.get("ANTIPHON_URL", "http://127.0.0.1:8080")
client = OpenAI(base_url=f"{url}/v1", api_key=os.environ["ANTIPHON_API_KEY"])

resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE)
with av.open(sys.argv[1]) as recording:
    frames = [part for frame in recording.decode(audio=0) for part in resampler.resample(frame)]
spoken = b"".join(frame.to_ndarray().tobytes() for frame in frames)

answered_ms = 0
with client.realtime.connect(model="smollm2-135m-instruct") as connection:
    hearing = {"transcription": {"model": "whisper-1"}, "turn_detection": None}
    audio = {"input": hearing, "output": {"voice": "alloy"}}
    connection.session.update(session={"type": "realtime", "max_output_tokens": 60, "audio": audio})
    connection.input_audio_buffer.append(audio=base64.b64encode(spoken).decode())
    connection.input_audio_buffer.commit()
    connection.response.create()
    for event in connection:
        if event.type == "conversation.item.input_audio_transcription.completed":
            print("heard:", event.transcript)
        elif event.type == "response.output_audio.delta":
            answered_ms += len(base64.b64decode(event.delta)) // 2 * 1000 // RATE
        elif event.type == "response.output_audio_transcript.done":
            print("answered:", event.transcript)
        elif event.type == "response.done":
            break
print(f"in {answered_ms / 1000:.1f} s of speech")
