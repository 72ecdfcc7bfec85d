"""Word error rates of a running server: from file and live, alone and many at once.

    python bench/accuracy.py --url http://127.0.0.1:8080 --references clips/transcripts.tsv clips/*.wav

Live audio is sent in real time, in 100 ms messages. For the second figure each clip is sent `--copies` times at once,
so that its rows meet others in the engine's batches.
"""

import argparse
import asyncio
import os
from collections.abc import Sequence
from pathlib import Path

import aiohttp
import msgspec

from antiphon.bench import clips
from antiphon.bench.measure import Errors, word_errors

CHUNK_BYTES, CHUNK_S = 3_200, 0.1


async def from_file(http: aiohttp.ClientSession, url: str, clip: clips.Clip, data: bytes) -> str:
    async with http.post(f"{url}/v1/listen?model=nova-3&punctuate=true", data=data) as answer:
        answer.raise_for_status()
        results = msgspec.json.decode(await answer.read())["results"]
    return str(results["channels"][0]["alternatives"][0]["transcript"])


async def live(http: aiohttp.ClientSession, url: str, clip: clips.Clip, data: bytes) -> str:
    query = "model=nova-3&encoding=linear16&sample_rate=16000&punctuate=true&interim_results=true"
    texts = []
    async with http.ws_connect(f"{url}/v1/listen?{query}") as socket:

        async def speak() -> None:
            for at in range(0, len(clip.pcm), CHUNK_BYTES):
                await socket.send_bytes(clip.pcm[at : at + CHUNK_BYTES])
                await asyncio.sleep(CHUNK_S)
            await socket.send_str('{"type": "CloseStream"}')

        speaking = asyncio.create_task(speak())
        async for message in socket:
            result = msgspec.json.decode(message.data)
            if result["type"] == "Results" and result["is_final"]:
                texts.append(result["channel"]["alternatives"][0]["transcript"])
        await speaking
    return " ".join(texts)


async def measure(url: str, key: str, loaded: Sequence[tuple[clips.Clip, bytes]], copies: int) -> None:
    headers = {"Authorization": f"Token {key}"}
    print("| how | at once | word errors | words | WER |\n|---|---|---|---|---|")
    async with aiohttp.ClientSession(headers=headers) as http:
        for name, way in (("file", from_file), ("live", live)):
            for count in (1, copies):
                total = Errors()
                for clip, data in loaded:
                    texts = await asyncio.gather(*(way(http, url, clip, data) for _ in range(count)))
                    total = sum((word_errors(clip.reference or "", text) for text in texts), total)
                print(f"| {name} | {count} | {total.errors} | {total.words} | {total.rate or 0:.1%} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", nargs="+", type=Path)
    parser.add_argument("--references", type=Path, required=True)
    parser.add_argument("--url", default="http://127.0.0.1:8080")
    parser.add_argument("--api-key", default=os.environ.get("ANTIPHON_API_KEY", ""))
    parser.add_argument("--copies", type=int, default=16)
    arguments = parser.parse_args()
    known = clips.read_references(arguments.references)
    loaded = [(clips.load(path, known), path.read_bytes()) for path in arguments.clips]
    asyncio.run(measure(arguments.url, arguments.api_key, loaded, arguments.copies))


if __name__ == "__main__":
    main()
