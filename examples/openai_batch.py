"""Transcribe a recording, then have each of its sentences turned into a vector by a batch, with OpenAI's own SDK.

ANTIPHON_API_KEY=... python examples/openai_batch.py speech.wav
"""

import json
import os
import sys
import time
from pathlib import Path

from openai import OpenAI

url = os.environ.get("ANTIPHON_URL", "http://127.0.0.1:8080")
client = OpenAI(base_url=f"{url}/v1", api_key=os.environ["ANTIPHON_API_KEY"])
text = client.audio.transcriptions.create(model="whisper-1", file=Path(sys.argv[1])).text
sentences = [f"{sentence.strip()}." for sentence in text.split(".") if sentence.strip()]

calls = [
    {
        "custom_id": str(number),
        "method": "POST",
        "url": "/v1/embeddings",
        "body": {"model": "text-embedding-3-small", "input": sentence},
    }
    for number, sentence in enumerate(sentences)
]
lines = "\n".join(map(json.dumps, calls)).encode()
file = client.files.create(file=("sentences.jsonl", lines), purpose="batch")
batch = client.batches.create(input_file_id=file.id, endpoint="/v1/embeddings", completion_window="24h")
while batch.status in ("validating", "in_progress", "finalizing"):
    time.sleep(0.2)
    batch = client.batches.retrieve(batch.id)

if batch.output_file_id is None:
    sys.exit(f"the batch is {batch.status}, and nothing was answered")
for line in client.files.content(batch.output_file_id).text.splitlines():
    answer = json.loads(line)
    vector = answer["response"]["body"]["data"][0]["embedding"]
    print(f"{sentences[int(answer['custom_id'])]} ({len(vector)} dimensions)")
