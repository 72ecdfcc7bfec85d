"""Whisper in its process."""

import asyncio
import os
import signal
import wave
from pathlib import Path

import av
import pytest

from antiphon.children import NICENESS
from antiphon.core.errors import EngineError
from antiphon.core.ports import Guidance, Utterance
from antiphon.engines.whisper import Whisper, WhisperSettings
from antiphon.models import Store


@pytest.fixture
def german() -> bytes:
    resampler = av.AudioResampler("s16", "mono", 16_000)
    with av.open(str(Path(__file__).parents[1] / "data" / "german.ogg")) as file:
        frames = [each for frame in file.decode(audio=0) for each in resampler.resample(frame)]
    return b"".join(frame.to_ndarray().tobytes() for frame in frames)


async def test_a_batch_is_recognised_as_each_alone_and_after_a_crash(models: Store, beckett: Path):
    with wave.open(str(beckett)) as file:
        assert file.getframerate() % 16_000 == 0
        step = 2 * file.getframerate() // 16_000
        pcm = b"".join(data[at : at + 2] for data in [file.readframes(10**9)] for at in range(0, len(data), step))
    rows = [Utterance(pcm, timed=True), Utterance(pcm[: len(pcm) // 2]), Utterance(bytes(32_000))]
    whisper = await Whisper.start(models.path("whisper-tiny-en"))
    try:
        own = os.getpriority(os.PRIO_PROCESS, 0)
        assert os.getpriority(os.PRIO_PROCESS, whisper._process.pid) == own + NICENESS  # the server goes before
        together = await asyncio.to_thread(whisper.recognise, rows)
        assert together[0].words[-1].end_ms > 1000
        assert together[2].text == ""
        os.kill(whisper._process.pid, signal.SIGKILL)
        alone = [(await asyncio.to_thread(whisper.recognise, [row]))[0] for row in rows]
        assert [row.text for row in alone] == [row.text for row in together]
        assert whisper.stats().restarts == 1
    finally:
        await whisper.close()


async def test_what_follows_a_prefix_does_not_hold_it(models: Store, beckett: Path):
    with wave.open(str(beckett)) as file:
        pcm = file.readframes(6 * 16_000)
    whisper = await Whisper.start(models.path("whisper-tiny-en"))
    try:
        (whole,) = await asyncio.to_thread(whisper.recognise, [Utterance(pcm, timed=True)])
        assert len(whole.tokens) > 6
        rows = [Utterance(pcm, timed=True, prefix=whole.tokens[:n]) for n in (3, 6)]
        for n, rest in zip((3, 6), await asyncio.to_thread(whisper.recognise, rows), strict=True):
            assert rest.tokens == whole.tokens[n:]
            assert len(rest.pieces) == len(rest.logprobs) == len(rest.tokens)
            assert [word.text for word in rest.words] == [word.text for word in whole.words[-len(rest.words) :]]
            assert rest.words[0].start_ms == pytest.approx(whole.words[-len(rest.words)].start_ms, abs=200)
        (short,) = await asyncio.to_thread(whisper.recognise, [Utterance(pcm[128 * 32 : 1_400 * 32], timed=True)])
        assert short.words[-1].end_ms <= 1_272  # though its padding is longer
    finally:
        await whisper.close()


async def test_a_folder_that_holds_no_model(tmp_path):
    with pytest.raises(EngineError):
        await Whisper.start(tmp_path)


@pytest.mark.long
async def test_a_multilingual_model(models: Store, german: bytes):
    """The speech is espeak-ng's: "Guten Morgen. Ich möchte heute mit dem Zug nach Berlin fahren. ..." """
    guided = [
        Guidance(),
        Guidance(("de",)),
        Guidance(("en", "fr")),
        Guidance(("de",), translate=True),
        Guidance(("de",), keyterms=("Berlyn",)),
    ]
    whisper = await Whisper.start(models.path("whisper-base"))
    try:
        assert {"de", "en", "ja", "jv"} <= whisper.capabilities.languages
        rows = [Utterance(german, timed=True, guidance=each) for each in guided]
        found, told, other, english, biased = await asyncio.to_thread(whisper.recognise, rows)
        alone = [(await asyncio.to_thread(whisper.recognise, [row]))[0] for row in rows]
        assert [each.text for each in alone] == [each.text for each in (found, told, other, english, biased)]
    finally:
        await whisper.close()
    assert (found.language, told.language, told.language_confidence) == ("de", "de", 1.0)
    assert 0.5 < found.language_confidence < 1
    assert found.text == told.text
    assert "Zug nach Berlin" in told.text
    assert other.language in ("en", "fr")
    assert english.text.startswith("Good morning")
    assert "Berlyn" in biased.text


async def test_a_language_that_its_model_does_not_hear(models: Store):
    with pytest.raises(EngineError, match="does not hear 'de'"):
        await Whisper.start(models.path("whisper-tiny-en"), WhisperSettings(1, "de"))
