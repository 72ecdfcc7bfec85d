"""Texts that crash espeak's library, by the thousand: each is read or refused, and the process that forks survives.

`ANTIPHON_TEXTS` sets how many are tried (a soak wants hundreds of thousands); each is made from its number, so that a
failure names what to reproduce.
"""

import gc
import json
import os
import random
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from antiphon.core.specs import Markup
from antiphon.engines.espeak.phonemizer import MEMORY_BYTES, Phonemizer, Unspeakable
from antiphon.models import Store
from antiphon.text.clauses import Clauses

pytest.importorskip("piper", reason="piper-tts is not installed")

pytestmark = pytest.mark.xdist_group("piper")

TEXTS = int(os.environ.get("ANTIPHON_TEXTS", "600"))
LONGEST = 2000  # of a clause
CALLERS = 3
PATIENCE_S = 60  # for one text
# Letters of many scripts, with what stands between them, dots above all.
SIGNS = (
    "aAbBzZéñğßøŁœ" "ЖяΩπאبنक日本語ひカ한ქԱሀ" "0123579٣½²Ⅷ" "....,,;:!?…。،" "-'’_/\\&@#%*+=<>$€~^|()[]{}\"“”—–"
    " \n\t\u0301\u093c\u200d\u200b\ufe0f\u202e\x07\U0001f600\U0001f1e9\U0001f3fd\U0001d400\U00020000"
)  # fmt: skip
POISONS = ("日." * 33, "ñ." * 49, "a." * 101, "U.S." * 53, "e.g." * 240)


def made(number: int) -> str:
    """A unit of one to four signs, again and again."""
    rng = random.Random(number)
    unit = "".join(rng.choice(SIGNS) for _ in range(rng.randint(1, 4)))
    if rng.random() < 0.25:
        unit = rng.choice(SIGNS[:30]) + "."  # what is known to be worst
    return (unit * LONGEST)[: rng.randint(1, LONGEST)]


@pytest.fixture(scope="module")
def known(models: Store) -> dict[str, list[int]]:
    """The phonemes of the catalog's voice."""
    [settings] = models.path("en-us-joe-medium").glob("*.onnx.json")
    phonemes: dict[str, list[int]] = json.loads(settings.read_text())["phoneme_id_map"]
    return phonemes


@pytest.fixture
def phonemizer(known: dict[str, list[int]], monkeypatch: pytest.MonkeyPatch):
    # Some texts take more than a second of processor time, and a busy machine has little of it for each.
    monkeypatch.setattr("antiphon.engines.espeak.phonemizer.WALL_S", PATIENCE_S)
    made = Phonemizer("en-us", known, spare=CALLERS)
    yield made
    made.close()


def outcome(phonemizer: Phonemizer, text: str, known: dict[str, list[int]]) -> str:
    phonemizer.prepare()
    try:
        sentences = phonemizer.read(text)
    except Unspeakable:
        return "unspeakable"
    assert all(phoneme in known for sentence in sentences for phoneme in sentence)
    return "read"


def read_all(phonemizer: Phonemizer, texts: "list[list[str]]", known: dict[str, list[int]]) -> Counter[str]:
    """By several callers at once. Each item is texts that are read one after the other."""
    outcomes: Counter[str] = Counter()
    failures: list[str] = []
    numbers = iter(range(len(texts)))

    def caller() -> None:
        for number in numbers:
            begun = time.perf_counter()
            try:
                outcomes.update(outcome(phonemizer, text, known) for text in texts[number])
            except Exception as error:
                failures.append(f"text {number} got {error!r}")
            if time.perf_counter() - begun > PATIENCE_S * (1 + len(texts[number])):
                failures.append(f"text {number} took too long")

    threads = [threading.Thread(target=caller) for _ in range(CALLERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    phonemizer.prepare()
    assert not failures
    print(dict(outcomes), file=sys.stderr)
    return outcomes


def measures(pid: int) -> tuple[int, int, int]:
    """Descriptors, children and resident bytes of the process that forks, and descriptors of ours."""
    gc.collect()  # descriptors that earlier tests left to the collector are not of this one
    time.sleep(0.3)
    size = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    children = len(Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
    return len(os.listdir(f"/proc/{pid}/fd")) + len(os.listdir("/proc/self/fd")), children, size


def test_texts_of_repeated_units_are_read_or_refused(phonemizer: Phonemizer, known: dict[str, list[int]]) -> None:
    read_all(phonemizer, [["Yes."]] * 30, known)
    pid, before = phonemizer.pid, measures(phonemizer.pid)
    outcomes = read_all(phonemizer, [[made(number)] for number in range(TEXTS)], known)
    assert outcomes.total() == TEXTS
    assert outcomes["read"] > 0.6 * TEXTS
    assert outcomes["unspeakable"] > 0  # or this test tries nothing
    assert phonemizer.pid == pid
    after = measures(pid)
    assert after[0] <= before[0]
    assert after[1] == before[1] == CALLERS
    assert after[2] - before[2] < 2_000_000
    assert phonemizer.read("Yes.") == [["j", "ˈ", "ɛ", "s", "."]]


def test_as_they_are_read_aloud_they_can_be_spoken(phonemizer: Phonemizer, known: dict[str, list[int]]) -> None:
    """The front end breaks what would crash the library."""

    def clauses(text: str) -> list[str]:
        cut = Clauses(Markup.NONE)
        return [phrase.text for phrase in (*cut.push(text), *cut.flush())][:3]

    pid = phonemizer.pid
    outcomes = read_all(phonemizer, [clauses(made(number)) for number in range(TEXTS // 3)], known)
    assert outcomes["unspeakable"] <= 0.001 * outcomes.total()
    assert read_all(phonemizer, [clauses(poison) for poison in POISONS], known)["unspeakable"] == 0
    assert phonemizer.pid == pid


def test_a_crash_of_one_text_leaves_the_others(phonemizer: Phonemizer) -> None:
    before, crashes = phonemizer.read("The quick brown fox."), 0
    for poison in POISONS:
        try:
            phonemizer.read(poison)
        except Unspeakable:  # what is overwritten differs from one process to the next, and may be of no use
            crashes += 1
        assert phonemizer.read("The quick brown fox.") == before
    assert crashes


def test_the_process_that_forks_is_started_again(phonemizer: Phonemizer) -> None:
    before, pid = phonemizer.read("Hello."), phonemizer.pid
    os.kill(pid, 9)
    assert phonemizer.read("Hello.") == before
    assert phonemizer.pid != pid


def test_a_child_has_no_file_no_connection_and_little_memory(phonemizer: Phonemizer) -> None:
    """Once it reads a text; here one that keeps it busy, so that it can be looked at."""
    phonemizer.prepare()
    time.sleep(0.3)
    [child, *_] = Path(f"/proc/{phonemizer.pid}/task/{phonemizer.pid}/children").read_text().split()
    found: list[dict[str, list[str]]] = []

    def look() -> None:
        while not found:
            try:
                text = Path(f"/proc/{child}/limits").read_text()
            except OSError:
                return
            limits = {line[:25].strip(): line[25:].split() for line in text.splitlines()[1:]}
            if limits["Max cpu time"][0] != "unlimited":  # the last that is set
                found.append(limits)

    watching = threading.Thread(target=look)
    watching.start()
    for _ in range(CALLERS):  # one of them is that child
        phonemizer.read(" ".join(["considerable"] * 150))
    watching.join()
    assert found, "it was not seen at work"
    assert found[0]["Max file size"][0] == "0"
    assert found[0]["Max processes"][0] == "0"
    assert int(found[0]["Max cpu time"][0]) <= 2
    assert int(found[0]["Max address space"][0]) < MEMORY_BYTES + (256 << 20)


def test_a_voice_that_there_is_not(known: dict[str, list[int]]) -> None:
    with pytest.raises(OSError, match="could not be started"):
        Phonemizer("xx-nowhere", known)
