"""Text to speech to text through a running server: how many words come back wrong, and how true the times of characters
are.

    python bench/round_trip.py --url http://127.0.0.1:8080

The word error rate is over the sentences in `sentences.txt`. The independent alignment is PocketSphinx's, of the same
audio with the same text; compared are the starts of words, which are the starts of their first characters.
"""

import argparse
import base64
import json
import os
from statistics import median, quantiles

import httpx

from antiphon.bench.measure import Errors, word_errors
from antiphon.core.text import plain
from voices import SENTENCES

RATE = 16_000


def transcript(client: httpx.Client, sentence: str) -> str:
    request = {"model": "tts-1", "voice": "alloy", "input": sentence, "response_format": "wav"}
    spoken = client.post("/v1/audio/speech", json=request).raise_for_status().content
    files = {"file": ("spoken.wav", spoken)}
    answer = client.post("/v1/audio/transcriptions", files=files, data={"model": "whisper-1"}).raise_for_status()
    return str(answer.json()["text"])


def word_starts(client: httpx.Client, sentence: str) -> tuple[bytes, list[int]]:
    """The audio, and when each word begins by the times of characters, in milliseconds."""
    answer = client.post(
        "/v1/text-to-speech/JBFqnCBsd6RMkjVDRZzb/with-timestamps",
        params={"output_format": f"pcm_{RATE}"},
        json={"text": sentence, "model_id": "eleven_flash_v2_5"},
    ).raise_for_status()
    speech = answer.json()
    letters = speech["alignment"]["characters"]
    starts = speech["alignment"]["character_start_times_seconds"]
    begun = [
        round(start * 1000)
        for before, letter, start in zip([" ", *letters], letters, starts, strict=False)
        if before.isspace() and not letter.isspace()
    ]
    return base64.b64decode(speech["audio_base64"]), begun


def independent(pcm: bytes, sentence: str) -> list[int] | None:
    """When each word begins, or nothing where the dictionary lacks one or the aligner does not find its way."""
    from pocketsphinx import Decoder

    decoder = Decoder(samprate=RATE, bestpath=False, loglevel="FATAL")
    words = plain(sentence).split()
    if any(decoder.lookup_word(word) is None for word in words):
        return None
    decoder.set_align_text(" ".join(words))
    decoder.start_utt()
    decoder.process_raw(pcm, full_utt=True)
    decoder.end_utt()
    found = [s for s in decoder.seg() if s.word not in ("<s>", "</s>", "<sil>", "(NULL)") and s.word[0] != "["]
    return [segment.start_frame * 10 for segment in found] if len(found) == len(words) else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="http://127.0.0.1:8080")
    parser.add_argument("--out", help="where the sentences that came back wrong are written, JSON")
    arguments = parser.parse_args()
    key = os.environ.get("ANTIPHON_API_KEY", "")
    headers = {"authorization": f"Bearer {key}", "xi-api-key": key}
    total, compared = Errors(), 0
    wrong: list[tuple[str, str]] = []
    off: list[int] = []
    with httpx.Client(base_url=arguments.url, headers=headers, timeout=60) as client:
        for sentence in SENTENCES:
            text = transcript(client, sentence)
            errors = word_errors(sentence, text)
            total += errors
            if errors.errors:
                wrong.append((sentence, text))
            pcm, starts = word_starts(client, sentence)
            truth = independent(pcm, sentence)
            if truth and len(truth) == len(starts):
                compared += 1
                off += [abs(ours - theirs) for ours, theirs in zip(starts, truth, strict=True)]
    print(
        f"WER {100 * (total.rate or 0):.1f} % over {len(SENTENCES)} sentences ({total.errors} of {total.words} words)"
    )
    p95 = quantiles(off, n=20)[-1]
    print(f"word starts off by {median(off):.0f} ms at the median, {p95:.0f} ms at P95, over {compared} sentences")
    if arguments.out:
        with open(arguments.out, "w") as file:
            json.dump(wrong, file, indent=1)


if __name__ == "__main__":
    main()
