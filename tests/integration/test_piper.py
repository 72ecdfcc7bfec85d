"""The voice that the catalog has, in its own process. One for all of these tests but those that kill it."""

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import pytest_asyncio

from antiphon.audio.resample import to_house_rate
from antiphon.core.errors import EngineError
from antiphon.core.ports import Clause, Utterance
from antiphon.engines.moonshine import Moonshine
from antiphon.engines.piper import PiperSettings, PiperVoice
from antiphon.models import Store

pytest.importorskip("piper", reason="piper-tts is not installed")

from antiphon.engines.piper import speech, vits
from antiphon.engines.piper.streaming import LAST

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.xdist_group("piper")]

SENTENCE = "The quick brown fox jumps over the lazy dog near the river bank."
SAMPLE_BYTES = 2


@pytest.fixture(scope="module")
def folder(models: Store) -> Path:
    return models.path("en-us-joe-medium")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def voice(folder: Path) -> AsyncIterator[PiperVoice]:
    voice = await PiperVoice.start(folder, PiperSettings(workers=2, threads=1))
    yield voice
    await voice.close()


async def said(voice: PiperVoice, text: str, speed: float = 1.0) -> list[bytes]:
    return [piece async for piece in voice.synthesise(Clause(text, speed))]


def letters(text: str) -> str:
    """All that two spellings of the same words have in common."""
    return re.sub(r"[^a-z]", "", text.lower())


def seconds(voice: PiperVoice, pieces: list[bytes]) -> float:
    return len(b"".join(pieces)) / SAMPLE_BYTES / voice.sample_rate


async def test_what_is_said_is_heard(voice: PiperVoice, moonshine_dir: Path) -> None:
    spoken = [b"".join(await said(voice, SENTENCE, speed)) for speed in (1.0, 0.7, 1.5)]
    heard = Moonshine(moonshine_dir).recognise([Utterance(to_house_rate(pcm, voice.sample_rate)) for pcm in spoken])
    for hypothesis in heard:
        assert letters(hypothesis.text) == letters(SENTENCE)


async def test_the_first_piece_is_short_and_the_same_text_sounds_the_same(voice: PiperVoice) -> None:
    first, second = await asyncio.gather(said(voice, SENTENCE), said(voice, SENTENCE))
    assert first == second
    assert (voice.sample_rate, voice.language) == (22_050, "en-US")
    assert 3 < seconds(voice, first) < 5
    assert 0.1 < seconds(voice, first[:1]) < 0.2
    assert all(seconds(voice, [piece]) < 1 for piece in first)
    assert (await said(voice, SENTENCE.replace("fox", "cat"))) != first


async def test_speed_is_honoured(voice: PiperVoice) -> None:
    usual, fast, slow = [seconds(voice, await said(voice, SENTENCE, speed)) for speed in (1.0, 2.0, 0.5)]
    assert fast == pytest.approx(usual / 2, abs=0.02)
    assert slow == pytest.approx(usual * 2, abs=0.02)


@pytest.mark.parametrize("text", ["", " ", "...", "\n\t", "😀" * 3, "\ud800", "[[", "---"])
async def test_what_cannot_be_said_is_short_or_nothing(voice: PiperVoice, text: str) -> None:
    assert seconds(voice, await said(voice, text)) < 5


@pytest.mark.parametrize(
    "text", ["日本語 and é ß", "a\0b\x07c", "[[həloʊ]] there", "(en)(fr) Bonjour", "<b>Bold</b> & co."]
)
async def test_unknown_characters_are_no_harm(voice: PiperVoice, text: str) -> None:
    assert 0.2 < seconds(voice, await said(voice, text)) < 10


async def test_a_long_clause_comes_in_bounded_steps(voice: PiperVoice) -> None:
    loop = asyncio.get_running_loop()
    pieces = voice.synthesise(Clause("and then " * 222, 2.0))
    begun = loop.time()
    await anext(pieces)
    took = loop.time() - begun
    assert took < 2  # not the whole, which is more than a minute of speech
    await pieces.aclose()
    one_word = await said(voice, "a" * 2000, 4.0)
    assert one_word


async def test_closing_leaves_room_for_others(voice: PiperVoice) -> None:
    for _ in range(5):
        pieces = voice.synthesise(Clause(SENTENCE))
        await anext(pieces)
        await pieces.aclose()
    assert await said(voice, "Yes.")
    assert voice.stats().running == 0


async def test_it_dies_in_a_clause_and_goes_on(folder: Path) -> None:
    voice = await PiperVoice.start(folder)
    try:
        whole = await said(voice, SENTENCE)
        pieces = voice.synthesise(Clause(SENTENCE))
        heard = [await anext(pieces)]
        assert voice._process is not None
        os.kill(voice._process.pid, signal.SIGKILL)
        async with asyncio.timeout(60):
            heard += [piece async for piece in pieces]
        assert b"".join(heard) == b"".join(whole)
        assert voice.stats().restarts == 1
    finally:
        await voice.close()
    assert voice.stats().rss_bytes == 0


@pytest.mark.long
async def test_hundreds_of_clauses_leak_nothing(voice: PiperVoice) -> None:
    async def some(count: int) -> None:
        for number in range(count):
            pieces = voice.synthesise(Clause("Yes, no."[number % 5 :], 2.0))
            if number % 3:
                async for _ in pieces:
                    pass
            else:
                await anext(pieces)
                await pieces.aclose()

    await asyncio.gather(some(40), some(40))
    before = voice.stats().rss_bytes
    await asyncio.gather(some(120), some(120))
    assert voice.stats().rss_bytes - before < 16 << 20


@pytest.mark.parametrize(
    ("name", "settings", "reason"),
    [
        ("en_US-joe-medium.onnx", PiperSettings(speaker=1), "speaker 1 not found"),
        ("MODEL_CARD", PiperSettings(), "No such file"),
    ],
)
async def test_what_is_no_voice_is_refused(folder: Path, name: str, settings: PiperSettings, reason: str) -> None:
    with pytest.raises(EngineError, match=reason):
        await PiperVoice.start(folder / name, settings)


async def test_a_folder_with_no_voice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="but has 0"):
        await PiperVoice.start(tmp_path)


async def test_without_the_package_it_says_how_to_get_it(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "piper.py").write_text("raise ModuleNotFoundError('piper', name='piper')")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    with pytest.raises(EngineError, match=r"pip install 'antiphon\[piper\]' .*GPL-3.0"):
        await PiperVoice.start(folder)


# -- in this process: what is cut sounds like what is whole ------------------------------------------------------------


async def test_the_flow_in_pieces_is_the_flow_whole(folder: Path) -> None:
    flow = vits.cut(folder / "en_US-joe-medium.onnx").flow
    session = onnxruntime.InferenceSession(flow.model)
    source = np.random.default_rng(0).standard_normal((1, 192, 150)).astype(np.float32)

    def run(*ends: int) -> np.ndarray:
        states, results, at = flow.states, [], 0
        for end in ends:
            last = np.array([int(end == 150)])
            result, *after = session.run(None, {flow.source: source[:, :, at:end], LAST: last, **states})
            states, at = dict(zip(states, after, strict=True)), end
            results.append(result)
        return np.concatenate(results, axis=2)

    np.testing.assert_allclose(run(40, 41, 90, 150), run(150), atol=1e-4)


async def test_windows_joined_are_the_whole(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rounding to 8 bits of mantissa is what the vocoder may cost, where the processor computes so: 40 dB."""
    voice = speech.Voice(folder, 0, workers=1, threads=1)
    joined = np.frombuffer(b"".join(pcm for pcm, _ in voice.speak(SENTENCE, 1.0)), np.int16)
    monkeypatch.setattr(speech, "WINDOWS", (400,))
    whole_voice = speech.Voice(folder, 0, workers=1, threads=1)
    whole = np.frombuffer(b"".join(pcm for pcm, _ in whole_voice.speak(SENTENCE, 1.0)), np.int16)
    assert len(joined) == len(whole)
    error = (joined.astype(float) - whole).std()
    assert error < whole.std() / 50
