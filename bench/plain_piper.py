"""The plainest server around the piper library: FastAPI, one route. `python plain_piper.py VOICE PORT`."""

import sys
from collections.abc import Iterator
from typing import Any

import uvicorn
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from piper import PiperVoice

app = FastAPI()
voice = PiperVoice.load(sys.argv[1])


@app.get("/health")
def health() -> str:
    return "ok"


@app.post("/v1/audio/speech")
def speak(body: dict[str, Any]) -> StreamingResponse:
    def spoken() -> Iterator[bytes]:
        for chunk in voice.synthesize(body["input"]):
            yield chunk.audio_int16_bytes

    return StreamingResponse(spoken(), media_type="audio/pcm")


uvicorn.run(app, port=int(sys.argv[2]), log_level="warning")
