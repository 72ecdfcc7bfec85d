"""Fakes for users' and our own tests: time that moves when told, a ledger in memory,
an ear that hears what is loud, an engine that hears numbers, one that counts, one that embeds, one that echoes,
and one that hums.
"""

from antiphon.testing.clock import FakeClock
from antiphon.testing.exports import FakeExports
from antiphon.testing.jobs import FakeJobs
from antiphon.testing.language import FakeEmbedder, FakeGenerator, FakeInferrer
from antiphon.testing.resources import FakeResources
from antiphon.testing.speech import FakeDetector, FakeRecogniser, FakeSpeechEngine, FakeSpeechStream
from antiphon.testing.stores import FakeAnswers, FakeBills, FakeDirectory, FakeLedger
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
