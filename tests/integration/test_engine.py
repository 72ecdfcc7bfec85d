"""The real models on real speech: exactness, independence from the batch, accuracy, times, bounds."""

import wave
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soxr

from antiphon.core.errors import EngineError
from antiphon.core.ports import Hypothesis, Utterance
from antiphon.engines.moonshine import MOST_SAMPLES, Moonshine
from antiphon.engines.silero import SileroVad

RATE = 16_000


def read(path: Path) -> np.ndarray:
    with wave.open(str(path)) as file:
        rate, samples = file.getframerate(), np.frombuffer(file.readframes(file.getnframes()), "<i2")
    return soxr.resample(samples, rate, RATE) if rate != RATE else samples


def pieces(samples: np.ndarray, longest_s: float = 9.0, least_s: float = 2.0) -> list[np.ndarray]:
    """Cut where it is quietest."""
    loudness = np.array([np.abs(samples[at : at + 3200].astype(float)).mean() for at in range(0, len(samples), 320)])
    cuts = [0]
    while len(samples) - cuts[-1] > longest_s * RATE:
        low, high = (int(cuts[-1] + seconds * RATE) // 320 for seconds in (least_s, longest_s))
        cuts.append((low + int(loudness[low:high].argmin())) * 320 + 1600)
    return [samples[a:b] for a, b in pairwise([*cuts, len(samples)])]


def plain(text: str) -> list[str]:
    return "".join(char for char in text.lower() if char.isalnum() or char in " '").split()


def errors(heard: Sequence[str], said: Sequence[str]) -> int:
    row = list(range(len(said) + 1))
    for i, word in enumerate(heard, 1):
        diagonal, row[0] = row[0], i
        for j, other in enumerate(said, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (word != other))
    return row[-1]


@pytest.fixture(scope="module")
def engine(moonshine_dir: Path) -> Moonshine:
    return Moonshine(moonshine_dir)


@pytest.fixture(scope="module")
def clips(two_cities: Path, beckett: Path) -> list[np.ndarray]:
    found = [*pieces(read(two_cities)), *pieces(read(beckett))]
    return [clip for clip in found if np.abs(clip.astype(float)).mean() > 200]


@pytest.fixture(scope="module")
def growing(engine: Moonshine, clips: list[np.ndarray]) -> list[tuple[bytes, Hypothesis]]:
    """Some clips as a stream would hear them, half a second more each time, recognised alone and without a draft."""
    heard = []
    for clip in clips[1::2]:
        for end in [*range(RATE // 2, len(clip), RATE // 2), len(clip)]:
            pcm = clip[:end].tobytes()
            heard.append((pcm, engine.recognise([Utterance(pcm)])[0]))
    return heard


def test_a_draft_changes_nothing_but_the_number_of_steps(
    engine: Moonshine, growing: list[tuple[bytes, Hypothesis]]
) -> None:
    greedy = steps = 0
    for (_, before), (pcm, alone) in pairwise(growing):
        drafted = engine.recognise([Utterance(pcm, before.tokens)])[0]
        assert (drafted.tokens, drafted.text, drafted.looped) == (alone.tokens, alone.text, alone.looped)
        assert drafted.logprobs == pytest.approx(alone.logprobs, abs=1e-4)
        greedy, steps = greedy + alone.steps, steps + drafted.steps
    assert steps < greedy / 2


def test_any_draft_is_exact_even_nonsense(engine: Moonshine, growing: list[tuple[bytes, Hypothesis]]) -> None:
    rng = np.random.default_rng(5)
    for pcm, alone in growing[::7]:
        nonsense = tuple(rng.integers(3, 32_000, 30).tolist())
        broken = (*alone.tokens[:3], 300, *alone.tokens[4:])
        for draft in (nonsense, broken):
            assert engine.recognise([Utterance(pcm, draft)])[0].tokens == alone.tokens


def test_neighbours_change_nothing(engine: Moonshine, growing: list[tuple[bytes, Hypothesis]]) -> None:
    order = np.random.default_rng(7).permutation(len(growing))
    for at in range(0, len(order), 16):
        rows = [growing[i] for i in order[at : at + 16]]
        drafts = [alone.tokens[:-2] if i % 2 else () for i, (_, alone) in enumerate(rows)]
        batch = engine.recognise([Utterance(pcm, draft) for (pcm, _), draft in zip(rows, drafts, strict=True)])
        assert [row.tokens for row in batch] == [alone.tokens for _, alone in rows]


def test_two_threads_hear_what_one_does(engine: Moonshine, growing: list[tuple[bytes, Hypothesis]]) -> None:
    rows = growing[1::3]
    batches = [rows[at : at + 5] for at in range(0, len(rows), 5)]

    def hear(batch: list[tuple[bytes, Hypothesis]]) -> list[tuple[int, ...]]:
        return [row.tokens for row in engine.recognise([Utterance(pcm, (300, 301)) for pcm, _ in batch])]

    with ThreadPoolExecutor(2) as pool:
        heard = list(pool.map(hear, batches * 2))
    assert heard == [[alone.tokens for _, alone in batch] for batch in batches] * 2


def test_without_batching_and_speculation_the_text_is_the_same(moonshine_dir: Path, clips: list[np.ndarray]) -> None:
    batch = [Utterance(clip.tobytes(), (450, 471, 278)) for clip in clips[:3]]
    slow = Moonshine(moonshine_dir, speculative=False, batched=False).recognise(batch)
    fast = Moonshine(moonshine_dir).recognise(batch)
    assert [row.tokens for row in slow] == [row.tokens for row in fast]
    assert all(row.accepted == 0 for row in slow)


def test_read_speech_is_understood(engine: Moonshine, two_cities: Path, two_cities_text: str) -> None:
    batch = engine.recognise([Utterance(piece.tobytes()) for piece in pieces(read(two_cities))])
    said = plain(two_cities_text)
    assert errors(plain(" ".join(row.text for row in batch)), said) <= 0.1 * len(said)
    assert not any(row.looped for row in batch)


def test_words_pieces_and_probabilities_fit_the_text(engine: Moonshine, clips: list[np.ndarray]) -> None:
    for clip in clips:
        row = engine.recognise([Utterance(clip.tobytes(), timed=True)])[0]
        assert " ".join(word.text for word in row.words) == row.text
        assert "".join(row.pieces).strip() == row.text
        assert len(row.pieces) == len(row.logprobs) == len(row.tokens)
        assert all(0 < word.confidence <= 1 for word in row.words)
        times = [time for word in row.words for time in (word.start_ms, word.end_ms)]
        assert times == sorted(times)
        assert times[0] >= 0
        assert times[-1] <= len(clip) // 16
        assert all(word.end_ms > word.start_ms for word in row.words)


def test_words_are_said_when_the_times_say(engine: Moonshine, clips: list[np.ndarray]) -> None:
    """What lies between two words can be cut out and heard as those words."""
    clip = clips[0]
    words = engine.recognise([Utterance(clip.tobytes(), timed=True)])[0].words
    first, last = words[3], words[10]
    part = clip[max(0, first.start_ms - 60) * 16 : (last.end_ms + 60) * 16]
    heard = plain(engine.recognise([Utterance(part.tobytes())])[0].text)
    said = plain(" ".join(word.text for word in words[3:11]))
    assert errors(heard, said) <= 1


def test_known_words_are_found_where_they_were_heard(engine: Moonshine, clips: list[np.ndarray]) -> None:
    for clip in clips:
        heard = engine.recognise([Utterance(clip.tobytes(), timed=True)])[0]
        found = engine.align(clip.tobytes(), [word.text for word in heard.words])
        assert found == [(word.start_ms, word.end_ms) for word in heard.words]


def test_times_are_zero_unless_asked_for(engine: Moonshine, clips: list[np.ndarray]) -> None:
    row = engine.recognise([Utterance(clips[0].tobytes())])[0]
    assert {(word.start_ms, word.end_ms) for word in row.words} == {(0, 0)}


def test_a_pause_is_in_no_word(engine: Moonshine, clips: list[np.ndarray]) -> None:
    clip = np.concatenate([np.zeros(RATE, np.int16), clips[0], np.zeros(RATE, np.int16)])
    words = engine.recognise([Utterance(clip.tobytes(), timed=True)])[0].words
    assert words[0].start_ms >= 900
    assert words[-1].end_ms <= len(clip) // 16 - 900


@pytest.mark.parametrize("seconds", [0.0, 0.01, 0.3, 5.0, 20.0])
def test_silence_and_noise_stay_bounded(engine: Moonshine, seconds: float) -> None:
    count = int(seconds * RATE)
    noise = (np.random.default_rng(2).standard_normal(count) * 2000).astype(np.int16)
    for samples in (np.zeros(count, np.int16), noise):
        row = engine.recognise([Utterance(samples.tobytes(), timed=True)])[0]
        assert len(row.tokens) <= seconds * 6.5 + 4


def test_what_runs_in_a_circle_is_cut(engine: Moonshine, clips: list[np.ndarray]) -> None:
    stutter = np.tile(clips[0][: RATE // 3], 30)
    row = engine.recognise([Utterance(stutter.tobytes())])[0]
    assert len(row.tokens) <= len(stutter) / RATE * 6.5 + 4


@pytest.mark.long
def test_the_longest_rows_fill_a_batch(engine: Moonshine, clips: list[np.ndarray]) -> None:
    speech = np.concatenate([*clips, *clips])[:MOST_SAMPLES].tobytes()
    draft = tuple(range(300, 500))
    batch = engine.recognise([Utterance(speech, draft, timed=True)] * 8)
    assert len({row.tokens for row in batch}) == 1
    assert batch[0].words


def test_half_a_sample_and_endless_audio_are_refused(engine: Moonshine) -> None:
    for pcm in (b"\0", bytes(2 * MOST_SAMPLES + 2)):
        with pytest.raises(EngineError):
            engine.recognise([Utterance(pcm)])


def test_a_draft_of_tokens_that_do_not_exist_is_the_engines_error(engine: Moonshine) -> None:
    with pytest.raises(EngineError):
        engine.recognise([Utterance(bytes(2 * RATE), (99_999,))])


def test_no_rows_no_hypotheses(engine: Moonshine) -> None:
    assert engine.recognise([]) == []


def test_a_folder_without_a_model_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(EngineError):
        Moonshine(tmp_path)


def test_voice_is_told_from_silence_in_any_company(silero_path: Path, clips: list[np.ndarray]) -> None:
    detector = SileroVad(silero_path)
    speech = clips[0][: 512 * 140].reshape(-1, 512)
    silence = np.zeros_like(speech)
    alone, state = [], [detector.initial_state()]
    for frame in speech:
        ((probability,),), state = detector.probabilities([frame.tobytes()], state)
        alone.append(probability)
    together, states = [], [detector.initial_state()] * 3
    for loud, quiet in zip(speech, silence, strict=True):
        row, states = detector.probabilities([quiet.tobytes(), loud.tobytes(), quiet.tobytes()], states)
        together.append([probability for (probability,) in row])
    assert np.array(together)[:, 1] == pytest.approx(alone, abs=1e-4)
    assert np.mean(np.array(alone) > 0.5) > 0.5
    assert np.array(together)[:, [0, 2]].max() < 0.2


def test_a_run_is_heard_like_its_frames_beside_runs_of_any_length(silero_path: Path, clips: list[np.ndarray]) -> None:
    detector = SileroVad(silero_path)
    frames = [frame.tobytes() for frame in clips[0][: 512 * 140].reshape(-1, 512)]
    singly, state = [], [detector.initial_state()]
    for frame in frames:
        ((probability,),), state = detector.probabilities([frame], state)
        singly.append(probability)
    runs, states = [], [detector.initial_state()] * 3
    for at in range(0, 140, 7):
        beside = b"".join(frames[: 1 + at % 12])
        heard, states = detector.probabilities([beside, b"".join(frames[at : at + 7]), beside[:1024]], states)
        assert list(map(len, heard)) == [1 + at % 12, 7, 1]
        runs += heard[1]
    assert runs == pytest.approx(singly, abs=1e-4)
    assert states[1] == pytest.approx(state[0], abs=1e-3)


def test_a_short_frame_is_refused(silero_path: Path) -> None:
    detector = SileroVad(silero_path)
    with pytest.raises(EngineError):
        detector.probabilities([bytes(1022)], [detector.initial_state()])
    with pytest.raises(EngineError):
        detector.probabilities([b""], [detector.initial_state()])


def test_two_words_cut_closely_are_not_heard_twice(engine: Moonshine, beckett: Path) -> None:
    """ "No matter", 0.9 to 1.4 s with the silence before it."""
    samples = read(beckett)
    cuts = [samples[begin_ms * 16 : 4294 * 16] for begin_ms in range(3000, 3400, 32)]
    for heard in engine.recognise([Utterance(cut.tobytes()) for cut in cuts]):
        assert plain(heard.text) == ["no", "matter"]


def test_what_follows_on_words_that_were_said_is_heard_as_their_rest(
    engine: Moonshine, clips: list[np.ndarray]
) -> None:
    """Cut between two words, anywhere, the rest is that of the whole; with a draft, in company and without."""
    clip = max(clips, key=len)
    (whole,) = engine.recognise([Utterance(clip.tobytes(), timed=True)])
    starts = [n for n, piece in enumerate(whole.pieces) if n and piece.startswith(" ")]
    parts = [Utterance(clip.tobytes(), timed=True, prefix=whole.tokens[:n]) for n in starts]
    rests = engine.recognise(parts)
    for n, rest, part in zip(starts, rests, parts, strict=True):
        assert rest.tokens == whole.tokens[n:]
        assert rest.text == "".join(whole.pieces[n:]).strip()
        same = whole.words[len(whole.words) - len(rest.words) :]
        assert [(w.text, w.start_ms, w.end_ms) for w in rest.words] == [(w.text, w.start_ms, w.end_ms) for w in same]
        drafted = Utterance(part.pcm, draft=rest.tokens[: len(rest.tokens) // 2], timed=True, prefix=part.prefix)
        (again,) = engine.recognise([drafted])
        assert (again.tokens, again.text) == (rest.tokens, rest.text)


def test_behind_a_mark_that_was_not_said_no_mark_comes_first(engine: Moonshine, clips: list[np.ndarray]) -> None:
    marks = 0
    for clip in clips:
        (whole,) = engine.recognise([Utterance(clip.tobytes())])
        for n in (n for n, piece in enumerate(whole.pieces[:-3]) if piece in {",", "."}):
            (rest,) = engine.recognise([Utterance(clip.tobytes(), prefix=whole.tokens[:n])])
            assert rest.text.split() == "".join(whole.pieces[n + 1 :]).split()
            marks += 1
    assert marks > 3
