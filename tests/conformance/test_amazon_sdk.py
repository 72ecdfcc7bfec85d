"""Amazon's official SDK for Python, unmodified, over HTTP/2 and TLS against the real server and models."""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from amazon_client import SPEECH_ONLY, Secure, client, secured, speech, transcribed
from amazon_transcribe import exceptions
from amazon_transcribe.auth import StaticCredentialResolver
from amazon_transcribe.client import TranscribeStreamingClient
from amazon_transcribe.endpoints import StaticEndpointResolver
from amazon_transcribe.signer import RequestSigner

from antiphon.core.identity import Scope
from antiphon.models import Store
from antiphon.stores.sqlite.directory import SqliteDirectory
from antiphon.transports.bounds import UNREAD_S
from antiphon.trust.control import Control
from antiphon.trust.pairs import Pairs
from serving import API_KEY


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory, models: Store) -> Iterator[Secure]:
    with secured(tmp_path_factory.mktemp("data"), models, SPEECH_ONLY) as server:
        yield server


def ended(secure: Secure, session: str) -> dict[str, Any]:
    """What the log says of a call once it has ended, which the ledger then knows."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        for line in (secure.data_dir / "log").read_text().splitlines():
            if session in line and "session ended" in line:
                found: dict[str, Any] = json.loads(line)
                return found
        time.sleep(0.1)
    raise AssertionError(f"{session} has not ended")


async def test_a_live_stream(secure: Secure, beckett: Path) -> None:
    stream, results = await transcribed(
        client(secure.url, API_KEY), beckett, enable_partial_results_stabilization=True, vocabulary_name="none"
    )
    finals = [result for result in results if not result.is_partial]
    said = " ".join(result.alternatives[0].transcript for result in finals).lower()
    assert "ever tried" in said
    assert "fail again" in said
    assert len({result.result_id for result in finals}) == len(finals)
    assert [result.start_time for result in finals] == sorted(result.start_time for result in finals)
    for result in finals:
        items = result.alternatives[0].items
        words = [item for item in items if item.item_type == "pronunciation"]
        assert all(0 < item.confidence <= 1 and item.start_time < item.end_time for item in words)
        assert items[-1].item_type == "punctuation"
        assert all(item.stable for item in items)
    told = ended(secure, stream.response.request_id)
    assert told["outcome"] == "completed"
    assert told["charged"] == {"stt.audio_ms": pytest.approx(9_970, abs=60)}
    assert told["key"] == "environment"


async def test_many_streams_of_one_second(secure: Secure, beckett: Path) -> None:
    """They have the same signature, and one connection."""
    one = client(secure.url, API_KEY)
    await transcribed(one, beckett)
    both = await asyncio.gather(*(transcribed(one, beckett) for _ in range(2)))
    for _, results in both:
        assert any("ever tried" in result.alternatives[0].transcript.lower() for result in results)


async def refusal(secure: Secure, secret: str = API_KEY, token: str | None = None, **asked: Any) -> Exception:
    options = {"language_code": "en-US", "media_sample_rate_hz": 16_000, "media_encoding": "pcm", **asked}
    with pytest.raises(exceptions.ServiceException) as caught:
        await client(secure.url, secret, token).start_stream_transcription(**options)
    return caught.value


async def test_who_is_not_let_in(secure: Secure) -> None:
    assert "UnrecognizedClientException" in str(await refusal(secure, "ant_wrong"))
    wrong = await refusal(secure, "another-secret", API_KEY)
    assert "InvalidSignatureException" in str(wrong)


async def test_a_pair_signs_for_its_key_without_being_it(secure: Secure, beckett: Path) -> None:
    control = Control(SqliteDirectory(secure.data_dir))
    key, _ = control.create_key("default", "", [Scope.TRANSCRIBE], time.time_ns() // 1_000_000)
    id, secret = Pairs(secure.data_dir, SqliteDirectory(secure.data_dir).vault()).make(key.id)
    signing = TranscribeStreamingClient(
        region="eu-west-1",
        endpoint_resolver=StaticEndpointResolver(secure.url),
        credential_resolver=StaticCredentialResolver(id, secret),
    )
    stream, results = await transcribed(signing, beckett)
    assert any("ever tried" in result.alternatives[0].transcript.lower() for result in results)
    assert ended(secure, stream.response.request_id)["key"] == key.id


async def test_what_is_refused(secure: Secure) -> None:
    for asked in (
        {"language_code": "de-DE"},
        {"media_encoding": "amr"},
        {"content_redaction_type": "PII", "pii_entity_types": ["AGE"]},
        {"language_model_name": "nobody"},
    ):
        assert isinstance(await refusal(secure, **asked), exceptions.BadRequestException), asked


async def test_a_replay(secure: Secure, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same signed request, sent again when the second in which it was signed is over."""
    signed: list[Any] = []
    sign = RequestSigner.sign

    def again(self: RequestSigner, request: Any, credentials: Any) -> Any:
        signed.append(signed[0] if signed else sign(self, request, credentials))
        return signed[-1]

    monkeypatch.setattr(RequestSigner, "sign", again)
    options = {"language_code": "en-US", "media_sample_rate_hz": 16_000, "media_encoding": "pcm"}
    first = await client(secure.url, API_KEY).start_stream_transcription(**options)
    await first.input_stream.end_stream()
    await asyncio.sleep(4)
    assert "InvalidSignatureException" in str(await refusal(secure))


async def test_an_event_that_somebody_else_signed(secure: Secure) -> None:
    options = {"language_code": "en-US", "media_sample_rate_hz": 16_000, "media_encoding": "pcm"}
    stream = await client(secure.url, API_KEY).start_stream_transcription(**options)
    await stream.input_stream.send_audio_event(audio_chunk=bytes(3200))
    stream.input_stream._credential_resolver = StaticCredentialResolver("anything", "another", API_KEY)
    await stream.input_stream.send_audio_event(audio_chunk=bytes(3200))
    with pytest.raises(exceptions.ServiceException, match="signature"):
        async for _ in stream.output_stream:
            pass


@pytest.mark.long
async def test_a_stream_of_silence_goes_on(secure: Secure) -> None:
    """Nothing is said to it for longer than an answer may wait to be taken."""
    options = {"language_code": "en-US", "media_sample_rate_hz": 16_000, "media_encoding": "pcm"}
    stream = await client(secure.url, API_KEY).start_stream_transcription(**options)
    for _ in range(UNREAD_S + 3):
        await stream.input_stream.send_audio_event(audio_chunk=bytes(32_000))
        await asyncio.sleep(1)
    await stream.input_stream.end_stream()
    assert [event async for event in stream.output_stream] == []
    assert ended(secure, stream.response.request_id)["outcome"] == "completed"


@pytest.mark.long
async def test_what_was_heard_before_a_timeout_comes_before_the_error(secure: Secure, ever_tried: Path) -> None:
    rate, pcm = speech(ever_tried)
    spoken = pcm.rstrip(bytes(1))  # no silence ends the utterance
    spoken += bytes(len(spoken) % 2)
    options = {"language_code": "en-US", "media_sample_rate_hz": rate, "media_encoding": "pcm"}
    stream = await client(secure.url, API_KEY).start_stream_transcription(**options)
    for at in range(0, len(spoken), rate):
        await stream.input_stream.send_audio_event(audio_chunk=spoken[at : at + rate])
    results: list[Any] = []

    async def listen() -> None:
        async for event in stream.output_stream:
            results.extend(event.transcript.results)

    with pytest.raises(exceptions.BadRequestException, match="timed out"):
        await listen()
    assert not results[-1].is_partial
    assert "no matter" in results[-1].alternatives[0].transcript.lower()
    charged = ended(secure, stream.response.request_id)["charged"]
    assert charged == {"stt.audio_ms": pytest.approx(len(spoken) * 500 / rate, abs=1)}


async def test_one_who_vanishes(secure: Secure, beckett: Path) -> None:
    one = client(secure.url, API_KEY)
    options = {"language_code": "en-US", "media_sample_rate_hz": 16_000, "media_encoding": "pcm"}
    stream = await one.start_stream_transcription(**options)
    await stream.input_stream.send_audio_event(audio_chunk=bytes(32_000))
    await asyncio.sleep(1)  # until it has arrived: nothing is said of silence
    (connection,) = one._session_manager._connections.values()
    connection.close()
    told = ended(secure, stream.response.request_id)
    assert told["outcome"] == "abandoned"
    assert told["charged"] == {"stt.audio_ms": 1_000}  # what was heard


def test_the_example(secure: Secure, ever_tried: Path) -> None:
    example = Path(__file__).parents[2] / "examples" / "amazon_live.py"
    environment = {**os.environ, "ANTIPHON_URL": secure.url, "ANTIPHON_API_KEY": API_KEY}
    command = [sys.executable, str(example), str(ever_tried)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "ever tried" in done.stdout.lower()
