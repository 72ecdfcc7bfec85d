"""What redaction finds, what it hides wrongly, what it costs a word, and how long it holds words of interims back.

    python bench/redaction.py [--sentences FILE.jsonl] [--rounds 6] [--presidio PYTHON]

Sentences are those of the tests, or of a file whose lines have `text`, `form` and `spans`. With Presidio both are
measured in one run; how it is installed says `peer_presidio.py`.
"Whole" is every letter and digit of what must be hidden.
"""

import argparse
import asyncio
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from antiphon.core.events import Interim, Transcript
from antiphon.core.redaction import ALL, OF_THE_MODEL, Redaction
from antiphon.engines.rampart import Rampart
from antiphon.models import Store
from antiphon.trust.redaction.filtering import Redactor
from antiphon.trust.redaction.finding import find

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests"))
WORD_MS = 350  # of ordinary speech
INTERIM_MS = 300

Spans = list[list[tuple[int, int]]]


def main() -> None:
    from redaction_sentences import by_hand, calls, sentences  # type: ignore[import-not-found, unused-ignore]

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sentences", type=Path)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--presidio", metavar="PYTHON")
    parser.add_argument("--models", type=Path, default=HERE.parent / ".cache" / "test-models")
    arguments = parser.parse_args()
    made: list[Any] = (
        _read(arguments.sentences) if arguments.sentences else [*sentences(arguments.rounds), *by_hand(), *calls()]
    )
    texts = [each.text for each in made]
    words = sum(len(text.split()) for text in texts)
    print(f"{len(made)} sentences, {words} words")

    begun = time.perf_counter()
    alone = [_places(text, ()) for text in texts]
    _show("grammar alone", made, alone, time.perf_counter() - begun, words)

    store = Store(arguments.models)
    store.pull(["rampart"])
    before_mb = _peak_mb()
    rampart = Rampart(store.path("rampart"), threads=1)
    begun = time.perf_counter()
    tags = asyncio.run(_one_by_one(rampart, texts))
    both = [_places(text, tagged) for text, tagged in zip(texts, tags, strict=True)]
    _show("grammar and model", made, both, time.perf_counter() - begun, words)
    print(f"  the model takes {_peak_mb() - before_mb:.0f} MB")

    if arguments.presidio:
        peer = subprocess.run(
            [arguments.presidio, str(HERE / "peer_presidio.py")],
            input=json.dumps(texts),
            capture_output=True,
            text=True,
            check=True,
        )
        answer = json.loads(peer.stdout)
        _show("Presidio", made, answer["spans"], answer["seconds"], words)
    asyncio.run(_delays(texts))


def _read(path: Path) -> list[Any]:
    from redaction_sentences import Sentence  # type: ignore[import-not-found, unused-ignore]

    rows = map(json.loads, path.read_text().splitlines())
    return [
        Sentence(row["text"], row["form"], tuple((span["type"], span["text"]) for span in row["spans"])) for row in rows
    ]


def _places(text: str, tagged: Any) -> list[tuple[int, int]]:
    return [(span.start, span.end) for span in find(text, Redaction(ALL), tagged)]


async def _one_by_one(rampart: Rampart, texts: list[str]) -> list[Any]:
    return [(await rampart.tag([text]))[0] for text in texts]


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _show(name: str, made: list[Any], found: Spans, seconds: float, words: int) -> None:
    from redaction_sentences import score  # type: ignore[import-not-found, unused-ignore]

    scores, wrong = score(made, found)
    print(f"{name}: {1000 * seconds / words:.2f} ms a word, {100 * wrong:.2f} % of words hidden wrongly")
    for (form, what), each in sorted(scores.items()):
        whole, touched = 100 * each.whole / each.all, 100 * each.touched / each.all
        print(f"  {form:13} {what:10} {each.all:4}  whole {whole:5.1f} %  touched {touched:5.1f} %")


async def _delays(texts: list[str]) -> None:
    """Of words that are shown in the end: how much later interims have them than without redaction, by the grammar."""
    wanted = Redaction(ALL - OF_THE_MODEL)
    late: list[int] = []
    first: list[int] = []
    for text in texts:
        words = text.split()[:60]
        seen: dict[str, int] = {}
        shown: dict[str, int] = {}
        redactor = Redactor(wanted, None)
        for at_ms in range(INTERIM_MS, WORD_MS * len(words) + INTERIM_MS, INTERIM_MS):
            prefix = words[: at_ms // WORD_MS]
            event = Interim(0, 0, at_ms, Transcript(" ".join(prefix), 0.9))
            (out,) = await redactor.push((event,))
            for number, word in enumerate(prefix):
                seen.setdefault(f"{number} {word}", at_ms)
            for number, word in enumerate(out.transcript.text.split()):
                if number < len(prefix) and word == prefix[number]:
                    shown.setdefault(f"{number} {word}", at_ms)
        late += [shown[key] - seen[key] for key in shown]
        if shown:
            first.append(min(shown.values()) - min(seen.values()))
    late.sort()
    print(
        f"interims: {100 * sum(map(bool, late)) / len(late):.1f} % of the words that are shown are late; "
        f"mean {sum(late) / len(late):.0f} ms, P90 {late[len(late) * 9 // 10]} ms, "
        f"P99 {late[len(late) * 99 // 100]} ms; "
        f"the first word {sum(first) / len(first):.0f} ms (a word each {WORD_MS} ms, an interim each {INTERIM_MS} ms)"
    )


if __name__ == "__main__":
    main()
