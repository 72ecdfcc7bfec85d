"""AssemblyAI's SDK transcribes files: uploads, polls, lists, deletes, and is told by a webhook."""

import hashlib
import hmac
import json
import re
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import assemblyai as aai
import httpx
import pytest
from assemblyai.types import ListTranscriptParameters, TranscriptResponse
from assemblyai_speech import speak

PATIENCE_S = 20
DIGITS = re.compile(r"415|555|0132|four one|five five|one three", re.IGNORECASE)


class Receiver(BaseHTTPRequestHandler):
    """Takes what webhooks send; the first is refused. Gives `recording` to whoever fetches it."""

    got: list[tuple[dict[str, str], bytes]]
    recording: bytes

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.got.append(({name.lower(): value for name, value in self.headers.items()}, body))
        self.send_response(500 if len(self.got) == 1 else 200)
        self.send_header("content-length", "0")
        self.end_headers()

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-length", str(len(self.recording)))
        self.end_headers()
        self.wfile.write(self.recording)

    def log_message(self, *given: Any) -> None: ...


@pytest.fixture
def receiver(beckett: Path) -> Iterator[tuple[str, list[tuple[dict[str, str], bytes]]]]:
    got: list[tuple[dict[str, str], bytes]] = []
    handler = type("Handler", (Receiver,), {"got": got, "recording": beckett.read_bytes()})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as front:
        threading.Thread(target=front.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{front.server_port}", got
        front.shutdown()


@pytest.fixture(autouse=True)
def settings(payer: Any, server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("base_url", server.base_url), ("api_key", payer.key), ("polling_interval", 0.2)):
        monkeypatch.setattr(aai.settings, name, value)
    monkeypatch.setattr(aai.Client, "_default", None)


def said(transcript: aai.Transcript) -> TranscriptResponse:
    assert transcript.status is aai.TranscriptStatus.completed, transcript.error
    return TranscriptResponse.parse_obj(transcript.json_response)


def test_a_file_and_its_views(payer: Any, beckett: Path) -> None:
    config = aai.TranscriptionConfig(keyterms_prompt=["ever"], language_code="en_us", speaker_labels=True)
    transcript = aai.Transcriber().transcribe(str(beckett), config)
    told = said(transcript)
    assert "ever tried" in (told.text or "").lower()
    assert told.words
    assert " ".join(word.text for word in told.words) == told.text
    assert all(word.start < word.end for word in told.words)
    assert (told.language_code, told.audio_duration, told.utterances) == ("en_us", 10, None)
    assert told.metadata is not None
    warned = " ".join(each.message for each in told.metadata.warnings or ())
    assert all(name in warned for name in ("keyterms_prompt", "speaker_labels", "keeps no transcripts"))
    sentences, paragraphs = transcript.get_sentences(), transcript.get_paragraphs()
    assert " ".join(each.text for each in sentences) == told.text == " ".join(each.text for each in paragraphs)
    assert transcript.export_subtitles_vtt().startswith("WEBVTT")
    captions = transcript.export_subtitles_srt(chars_per_caption=20).split("\n\n")
    assert all(len(caption.splitlines()[-1]) <= 20 for caption in captions if caption.strip())
    (found,) = transcript.word_search(["Ever tried", "antiphon"])
    assert found.count == len(found.timestamps) == len(found.indexes) >= 1
    assert told.words[found.indexes[0]].start == found.timestamps[0][0]
    with pytest.raises(aai.types.TranscriptError, match="redacted"):
        aai.api.get_redacted_audio(aai.Client.get_default().http_client, transcript.id or "")
    assert 9_000 < payer.charged_ms() < 11_000
    assert [kind for kind, _, _ in payer.entries()] == ["usage", "completed"]


def test_a_part_of_a_url_in_another_style_with_a_webhook(payer: Any, receiver: Any) -> None:
    url, got = receiver
    config = aai.TranscriptionConfig(
        punctuate=False,
        format_text=False,
        audio_start_from=2_000,
        audio_end_at=6_000,
        custom_spelling=None,
    )
    config.set_webhook(f"{url}/hook?a=b", "X-Mine", "secret")
    config.set_custom_spelling({"Feyled": ["failed"]})
    transcript = aai.Transcriber().transcribe(f"{url}/speech.wav", config)
    told = said(transcript)
    assert told.text
    assert "Feyled" in told.text
    assert told.text.replace("Feyled", "").islower()
    assert told.words
    assert all(1_900 <= word.start < word.end <= 6_100 for word in told.words)
    assert (told.audio_duration, told.webhook_auth) == (4, True)
    assert payer.charged_ms() == 4_000
    deadline = time.monotonic() + PATIENCE_S
    while len(got) < 2 and time.monotonic() < deadline:
        time.sleep(0.1)
    first, second = got
    assert json.loads(first[1]) == json.loads(second[1]) == {"transcript_id": transcript.id, "status": "completed"}
    assert second[0]["x-mine"] == "secret"
    at, signature = (part.partition("=")[2] for part in second[0]["antiphon-signature"].split(","))
    secret = hmac.digest(hashlib.sha256(payer.key.encode()).digest(), b"antiphon webhooks", "sha256")
    assert hmac.new(secret, f"{at}.".encode() + second[1], hashlib.sha256).hexdigest() == signature
    assert abs(int(at) - time.time()) < PATIENCE_S


def test_lists_in_pages_and_deletes(beckett: Path) -> None:
    transcriber = aai.Transcriber()
    upload = transcriber.upload_file(str(beckett))
    ids = [transcriber.submit(upload).id, transcriber.submit(upload).id]
    for id in ids:
        said(aai.Transcript.get_by_id(id or ""))
    broken = transcriber.transcribe(b"no audio at all")
    assert broken.status is aai.TranscriptStatus.error
    assert broken.error
    page = transcriber.list_transcripts(ListTranscriptParameters(limit=2))
    assert [each.id for each in page.transcripts] == [broken.id, ids[1]]
    assert page.transcripts[0].error == broken.error
    older = transcriber.list_transcripts(ListTranscriptParameters(before_id=page.page_details.before_id_of_prev_url))
    assert [each.id for each in older.transcripts] == ids[:1]
    assert older.page_details.before_id_of_prev_url is None
    completed = ListTranscriptParameters(status=aai.TranscriptStatus.completed)
    assert [each.id for each in transcriber.list_transcripts(completed).transcripts] == ids[::-1]
    gone = aai.Transcript.delete_by_id(ids[0] or "")
    assert gone.text == "Deleted by user."
    with pytest.raises(aai.types.TranscriptError, match="not found"):
        aai.Transcript.get_by_id(ids[0] or "")
    with pytest.raises(aai.types.TranscriptError, match="no such upload"):
        transcriber.submit(upload)


def test_what_is_hidden_is_in_no_view_and_not_heard_in_the_copy(server: Any, tmp_path: Path) -> None:
    text = "You can call me at four one five, five five five, oh one three two. The ship was painted blue."
    speech = tmp_path / "said.wav"
    speech.write_bytes(speak(server, text, encoding="linear16", sample_rate="16000", container="wav"))
    config = aai.TranscriptionConfig()
    config.set_redact_pii(
        redact_audio=True,
        policies=[aai.PIIRedactionPolicy.phone_number],
        substitution=aai.PIISubstitutionPolicy.entity_name,
    )
    transcript = aai.Transcriber().transcribe(str(speech), config)
    assert "[PHONE_NUMBER]" in (said(transcript).text or "")
    captions, sentences = transcript.export_subtitles_srt(), transcript.get_sentences()
    views = (said(transcript).text, captions.partition(">")[2], *(each.text for each in sentences))
    assert not any(DIGITS.search(str(view)) for view in views), views
    copy = tmp_path / "copy.mp3"
    transcript.save_redacted_audio(str(copy))
    transcript.save_redacted_audio(str(copy))  # its URL is good for more than one fetch
    heard = said(aai.Transcriber().transcribe(str(copy))).text or ""
    assert "ship" in heard
    assert not DIGITS.search(heard), heard
    url = transcript.get_redacted_audio_url()
    for elsewhere in (url.replace(transcript.id or "", "0" * 32), url.replace("/redacted-audio/copy", "")):
        assert httpx.get(elsewhere, timeout=60).status_code == 401


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"language_code": "de"}, "'de'"),
        ({"language_detection": True}, "language_detection"),
        ({"redact_pii": True, "redact_pii_policies": [aai.PIIRedactionPolicy.drug]}, "redact_pii_policies"),
        ({"summarization": True}, "summarization"),
        ({"audio_start_from": 5, "audio_end_at": 5}, "audio_end_at"),
        ({"speech_models": ["universal-99"]}, "universal-99"),
    ],
)
def test_what_is_refused(asked: dict[str, Any], words: str) -> None:
    with pytest.raises(aai.types.TranscriptError, match=words):
        aai.Transcriber().submit("https://example.org/a.wav", aai.TranscriptionConfig(**asked))
