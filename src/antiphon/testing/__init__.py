"""Fakes for users' tests and our own: a clock that tests advance, a ledger in memory, a detector that takes loud audio
for speech, and engines with simple, predictable results.
"""

from antiphon.testing.answers import FakeAnswers
from antiphon.testing.clock import FakeClock
from antiphon.testing.directory import FakeDirectory
from antiphon.testing.exports import FakeExports
from antiphon.testing.jobs import FakeJobs
from antiphon.testing.language import FakeEmbedder, FakeGenerator, FakeInferrer
from antiphon.testing.ledger import FakeBills, FakeLedger
from antiphon.testing.resources import FakeResources
from antiphon.testing.speech import FakeDetector, FakeRecogniser, FakeSpeechEngine, FakeSpeechStream
from antiphon.testing.voice import FakeAligner, FakeSynthesiser

__all__ = [
    "FakeAligner",
    "FakeAnswers",
    "FakeBills",
    "FakeClock",
    "FakeDetector",
    "FakeDirectory",
    "FakeEmbedder",
    "FakeExports",
    "FakeGenerator",
    "FakeInferrer",
    "FakeJobs",
    "FakeLedger",
    "FakeRecogniser",
    "FakeResources",
    "FakeSpeechEngine",
    "FakeSpeechStream",
    "FakeSynthesiser",
]
