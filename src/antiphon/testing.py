"""Fakes for users' and our own tests: time that moves when told, a ledger in memory,
an ear that hears what is loud and an engine that hears numbers.
"""

from collections.abc import Callable, Sequence
from itertools import takewhile

from antiphon.core.audio import BYTES_PER_MS
from antiphon.core.errors import AntiphonError, Conflict, EngineError
from antiphon.core.events import Word
from antiphon.core.ports import Hypothesis, Utterance
from antiphon.metering.entry import Entry
from antiphon.metering.ledger import Claim


class FakeClock:
    """A clock that stands still until `advance_ms`. Starts at 2026-01-01T00:00:00Z."""

    def __init__(self, unix_ms: int = 1_767_225_600_000) -> None:
        self._start_unix_ms = unix_ms
        self._elapsed_ns = 0

    def now_ns(self) -> int:
        return self._elapsed_ns

    def unix_ms(self) -> int:
        return self._start_unix_ms + self._elapsed_ns // 1_000_000

    def advance_ms(self, ms: int) -> None:
        self._elapsed_ns += ms * 1_000_000


class FakeLedger:
    """Keeps the rules of `metering.Ledger` in memory. While `error` is set, every call raises it."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.error: AntiphonError | None = None
        self.closed = False
        self._claims: dict[tuple[str, str], Claim] = {}

    @property
    def healthy(self) -> bool:
        return self.error is None and not self.closed

    async def append(self, new: Sequence[Entry], claim: Claim | None = None) -> None:
        self._check()
        written = {entry.key: entry for entry in self.entries}
        if any(written.get(entry.key, entry) != entry for entry in new):
            raise Conflict("this entry has been written before, with other contents")
        if claim is not None and new:
            if self._owner(claim) != claim.session:
                return
            self._claims.setdefault((claim.project, claim.key), claim)
        self.entries += [entry for entry in new if entry.key not in written]

    async def claim(self, project: str, key: str, fingerprint: str, session: str, now_unix_ms: int) -> Claim:
        self._check()
        owner = self._owner(Claim(project, key, fingerprint, session, now_unix_ms))
        return Claim(project, key, fingerprint, session, now_unix_ms, None if owner == session else owner)

    async def flush(self) -> None:
        self._check()

    async def close(self) -> None:
        self.closed = True

    def _check(self) -> None:
        if self.error is not None:
            raise self.error

    def _owner(self, claim: Claim) -> str:
        known = self._claims.get((claim.project, claim.key), claim)
        if known.fingerprint != claim.fingerprint:
            raise Conflict("this idempotency key was used for another request")
        return known.session


class FakeDetector:
    """Calls a frame speech where its loudest sample reaches `threshold`. A stream's state is the frames it heard.

    `calls` holds the rows of each call. While `error` is set, every call raises it.
    """

    def __init__(self, threshold: int = 1000) -> None:
        self.threshold = threshold
        self.calls: list[int] = []
        self.error: Exception | None = None

    def initial_state(self) -> int:
        return 0

    def probabilities(self, frames: Sequence[bytes], states: Sequence[int]) -> tuple[list[float], list[int]]:
        if self.error is not None:
            raise self.error
        self.calls.append(len(frames))
        loudest = [max(map(abs, memoryview(frame).cast("h"))) for frame in frames]
        return [0.99 if peak >= self.threshold else 0.01 for peak in loudest], [state + 1 for state in states]


class FakeRecogniser:
    """Hears a word in each whole 300 ms: "one two three ...", or what `hear` makes of an utterance.

    `calls` holds the utterances of each call. A call with an utterance that `fails` raises `EngineError`.
    A token is a word's number; what of the draft agrees is counted as accepted.
    """

    WORD_MS = 300

    def __init__(
        self,
        hear: Callable[[Utterance], str] | None = None,
        fails: Callable[[Utterance], bool] = lambda utterance: False,
    ) -> None:
        self.hear = hear or self._count
        self.fails = fails
        self.calls: list[tuple[Utterance, ...]] = []

    def recognise(self, batch: Sequence[Utterance]) -> list[Hypothesis]:
        self.calls.append(tuple(batch))
        if any(self.fails(utterance) for utterance in batch):
            raise EngineError("this was asked for")
        return [self._hypothesis(utterance) for utterance in batch]

    def _count(self, utterance: Utterance) -> str:
        words = len(utterance.pcm) // BYTES_PER_MS // self.WORD_MS
        return " ".join(_NUMBERS[n % len(_NUMBERS)] for n in range(words))

    def _hypothesis(self, utterance: Utterance) -> Hypothesis:
        texts = self.hear(utterance).split()
        step_ms = len(utterance.pcm) // BYTES_PER_MS // max(1, len(texts)) if utterance.timed else 0
        words = tuple(Word(text, n * step_ms, (n + 1) * step_ms, 0.9) for n, text in enumerate(texts))
        tokens = tuple(range(1, len(texts) + 1))
        agreed = zip(tokens, utterance.draft, strict=False)
        accepted = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], agreed))
        return Hypothesis(
            text=" ".join(texts),
            words=words,
            confidence=0.9 if texts else 0.0,
            tokens=tokens,
            pieces=tuple(f" {text}" for text in texts),
            logprobs=(-0.1,) * len(texts),
            accepted=accepted,
            steps=len(tokens) - accepted + 1,
        )


_NUMBERS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
