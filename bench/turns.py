"""How well the end of a turn is found by what was said: both kinds of error, on real speech, with the real models.

    python bench/turns.py MOONSHINE_DIR SILERO.onnx CLIP...

Each clip is someone who speaks, and is cut at every word's end: what the recogniser hears up to there is what a speaker
has said who pauses at that place. Everywhere but at the clip's last word that speaker would go on. Two errors follow:

- cut off: at a pause of so long within the clip the turn would have been taken to be over;
- left waiting: after the last word, how long until the turn is taken to be over.

Both are shown for plain silence and for each eagerness. The pauses that the speakers really made, as the voice detector
hears them, are counted apart: pauses at which the turn would have ended, of all that were made.
"""

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median

from antiphon.bench.clips import decode
from antiphon.calls.end_of_turn import silence_after_ms, thought_of
from antiphon.core.audio import BYTES_PER_MS, BYTES_PER_SAMPLE, SAMPLE_RATE, samples_to_ms
from antiphon.core.conversation.spec import Eagerness
from antiphon.core.ports import Utterance
from antiphon.engines.moonshine import Moonshine
from antiphon.engines.silero import SileroVad
from antiphon.scheduler.endpoint import FRAME, Endpointer, Turn
from serving import table

LONGEST_MS = 12_000  # of a turn
PAUSES_MS = (300, 500, 1000, 2000)
SILENCES_MS = (200, 300, 500, 800)
BREATH = bytes(160 * BYTES_PER_MS)  # of silence, which a hypothesis at a pause has heard

Policy = Callable[[str], int]


def _silence(ms: int) -> Policy:
    return lambda text: ms


def _eager(eagerness: Eagerness) -> Policy:
    return lambda text: silence_after_ms(text, eagerness)


POLICIES: dict[str, Policy] = {
    **{f"silence {ms} ms": _silence(ms) for ms in SILENCES_MS},
    **{f"eagerness {each}": _eager(each) for each in Eagerness},
}


@dataclass(frozen=True, slots=True)
class Pause:
    """What was heard up to it. `length_ms` is how long it really was, `None` for one that was only thought of."""

    text: str
    last: bool
    length_ms: int | None = None


def turns(pcm: bytes, detector: SileroVad) -> Iterator[tuple[bytes, list[tuple[int, int]]]]:
    """Stretches of speech of at most `LONGEST_MS`, each with the pauses in it: where they begin and end."""
    changes = []
    ends = Endpointer(None, len(pcm))
    (probabilities,), _ = detector.probabilities(
        [pcm[: len(pcm) // (2 * FRAME) * 2 * FRAME]], [detector.initial_state()]
    )
    for probability in probabilities:
        change = ends.push(probability)
        if change:
            changes.append((change.turn, samples_to_ms(change.at)))
    begun = next((at for turn, at in changes if turn is Turn.START), None)
    if begun is None:
        return
    pauses: list[tuple[int, int]] = []
    for (turn, at), (_, until) in zip(
        changes[1:], [*changes[2:], (Turn.STOP, samples_to_ms(ends.position))], strict=True
    ):
        if turn is Turn.PAUSE:
            if until - begun > LONGEST_MS and pauses:
                yield (
                    pcm[begun * BYTES_PER_MS : pauses[-1][0] * BYTES_PER_MS],
                    [(start - begun, end - begun) for start, end in pauses[:-1]],
                )
                begun, pauses = pauses[-1][1], []
            pauses.append((at, until))
    if pauses:
        yield pcm[begun * BYTES_PER_MS : pauses[-1][0] * BYTES_PER_MS], [(s - begun, e - begun) for s, e in pauses[:-1]]


def transcript(engine: Moonshine, pcm: bytes) -> str:
    (hypothesis,) = engine.recognise([Utterance(pcm + BREATH)])
    return hypothesis.text


def pauses(engine: Moonshine, pcm: bytes, made: list[tuple[int, int]]) -> Iterator[Pause]:
    """Those that were made, and one after each word."""
    for start_ms, end_ms in made:
        yield Pause(transcript(engine, pcm[: start_ms * BYTES_PER_MS]), last=False, length_ms=end_ms - start_ms)
    (whole,) = engine.recognise([Utterance(pcm + BREATH, timed=True)])
    for word in whole.words[:-1]:
        yield Pause(transcript(engine, pcm[: word.end_ms * BYTES_PER_MS]), last=False)
    yield Pause(whole.text, last=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("detector", type=Path)
    parser.add_argument("clips", type=Path, nargs="+")
    parser.add_argument("--show", action="store_true", help="print every pause and what it was taken for")
    options = parser.parse_args()
    engine, detector = Moonshine(options.model), SileroVad(options.detector)
    found: list[Pause] = []
    seconds = 0.0
    for clip in options.clips:
        pcm = decode(clip)
        seconds += len(pcm) / BYTES_PER_SAMPLE / SAMPLE_RATE
        pcm += 2 * BREATH  # or the last pause would not be one
        for turn, made in turns(pcm, detector):
            found += pauses(engine, turn, made)
    if options.show:
        for pause in found:
            kind = "end " if pause.last else f"{pause.length_ms or 0:4}"
            print(f"{thought_of(pause.text).name:8}{kind}  {pause.text[-60:]}")
    report(found, seconds)


def report(found: list[Pause], seconds: float) -> None:
    last = [pause for pause in found if pause.last]
    made = [pause for pause in found if pause.length_ms is not None]
    thought = [pause for pause in found if not pause.last and pause.length_ms is None]
    print(f"{seconds:.0f} s of speech, {len(last)} turns, {len(thought)} word ends, {len(made)} pauses made")
    rows = []
    for name, policy in POLICIES.items():
        cut = [sum(policy(pause.text) <= ms for pause in thought) / max(1, len(thought)) for ms in PAUSES_MS]
        real = sum(policy(pause.text) <= (pause.length_ms or 0) for pause in made)
        waits = [policy(pause.text) for pause in last]
        waited = f"{median(waits):.0f} / {mean(waits):.0f} / {max(waits)}"
        rows.append([name, *(f"{share:.0%}" for share in cut), f"{real}/{len(made)}", waited])
    offs = (f"cut off at {ms} ms" for ms in PAUSES_MS)
    print(table(("ends a turn after", *offs, "of pauses made", "waits: median / mean / most, ms"), rows))


if __name__ == "__main__":
    main()
