"""Sessions on fakes: only the event loop, the runner and its threads are real."""

import asyncio
import uuid
from pathlib import Path

from antiphon.audio.decode import Decoder
from antiphon.core.audio import AudioFormat, Encoding
from antiphon.core.errors import Unauthenticated
from antiphon.core.events import Audio, Final
from antiphon.core.identity import USUAL_SCOPES, Principal, Scope
from antiphon.core.specs import EmbedSpec, GenerateSpec, InferSpec, SpeakSpec, TranscribeSpec
from antiphon.core.usage import Dimension
from antiphon.core.wire import Opening
from antiphon.scheduler.runner import Runner, Settings
from antiphon.scheduler.steps import Steps
from antiphon.session.keeping import Keeper
from antiphon.session.language import Languages, Served
from antiphon.session.observe import Observer
from antiphon.session.route import Models
from antiphon.session.services import Services
from antiphon.session.sessions import Bounds, Sessions
from antiphon.session.voices import Voice, Voices
from antiphon.slo.objectives import Objectives
from antiphon.testing import (
    FakeAligner,
    FakeClock,
    FakeDetector,
    FakeEmbedder,
    FakeGenerator,
    FakeInferrer,
    FakeLedger,
    FakeRecogniser,
    FakeSynthesiser,
)
from antiphon.trust.control import Marking
from antiphon.trust.kept import KeptAnswers

LOUD_MS = b"\x00\x20" * 16
QUIET_MS = bytes(32)


def audio(*parts):
    """PCM of alternating loudness: so many milliseconds of speech, then of silence, and so on."""
    return b"".join((QUIET_MS if n % 2 else LOUD_MS) * ms for n, ms in enumerate(parts))


class GatedLedger(FakeLedger):
    """Appends wait at `gate`, before or after they were written."""

    def __init__(self):
        super().__init__()
        self.gate = asyncio.Event()
        self.gate.set()
        self.entered = asyncio.Event()
        self.write_first = False
        self.appends = 0

    async def append(self, new, claim=None):
        self.appends += 1
        self.entered.set()
        if self.write_first:
            await super().append(list(new), claim)
            await self.gate.wait()
        else:
            await self.gate.wait()
            await super().append(list(new), claim)


class FakeKeys:
    """One key, 'secret', until `revoked`; `error` is what `refresh` raises, `marks` what its project requires."""

    def __init__(self):
        self.revoked = False
        self.marks = Marking.MARKED
        self.error = None

    def authenticate(self, secret, scope):
        if secret != "secret" or self.revoked:
            raise Unauthenticated("the API key is not valid")
        return Principal("acme", "k1", USUAL_SCOPES)

    def holds(self, key_id):
        return not self.revoked

    def marking(self, project):
        return self.marks

    def refresh(self):
        if self.error:
            raise self.error


class FakeFetcher:
    """Gives `media` once `gate` is open."""

    def __init__(self):
        self.media = b""
        self.gate = asyncio.Event()

    async def fetch(self, url):
        await self.gate.wait()
        return self.media


class House:
    """Everything a session needs, and what a transport does with it."""

    def __init__(self):
        self.clock = FakeClock()
        self.ledger = GatedLedger()
        self.keys = FakeKeys()
        self.fetcher = FakeFetcher()
        self.recogniser = FakeRecogniser()
        self.detector = FakeDetector()
        self.runner = Runner(self.recogniser, self.detector, self.clock, Settings(tick_ms=0), lambda report: None)
        self.observer = Observer(Objectives(), self.runner.load, self.clock)
        services = Services(self.clock, self.ledger, self.runner, Decoder(), self.fetcher, self.observer)
        models = Models({"nova-3": "tiny"}, 1_700_000_000)
        self.generator = FakeGenerator()
        self.embedder = FakeEmbedder()
        self.inferrer = FakeInferrer()
        self.served = {
            "counter-2026": Served("counter-2026", self.generator, GenerateSpec, "fp_1", successor="counter-2027"),
            "vectors-2026": Served("vectors-2026", self.embedder, EmbedSpec),
            "tensors-2026": Served("tensors-2026", self.inferrer, InferSpec),
        }
        aliases = {"counter": "counter-2026", "vectors": "vectors-2026", "tensors": "tensors-2026"}
        languages = Languages(self.served, aliases, self.clock, 1_700_000_000)
        self.synthesiser = FakeSynthesiser(self.clock)
        self.aligner = FakeAligner()
        voice = Voice("buzz", self.synthesiser, Steps(2, self.clock))
        self.voices = Voices(
            {"tone-2026": [voice]}, {"tone": "tone-2026"}, {"alloy": "buzz"}, 1_700_000_000, self.aligner
        )
        bounds = Bounds(live=4, recordings=2, generations=4)
        self.keep_s = {}  # of each project
        self.kept = KeptAnswers(Path(":memory:"), self.clock)
        keeper = self.keeper = Keeper(self.kept, lambda project: self.keep_s.get(project, 0), self.clock)
        self.sessions = Sessions(services, self.keys, models, languages, self.voices, keeper, None, bounds)

    def open(self, claim=None, id=None, **spec):
        form = AudioFormat(Encoding.LINEAR16, 16_000, spec.pop("channels", 1))
        asked = TranscribeSpec(
            **{"model": "nova-3", "format": form, "live": True, "incremental": True, "endpointing_ms": 300} | spec
        )
        return self.sessions.transcribe(self.principal, "deepgram", id or str(uuid.uuid4()), asked, claim)

    def generate(self, claim=None, id=None, **spec):
        asked = GenerateSpec(**{"model": "counter", "prompt": "please count for me", "stream": True} | spec)
        return self.sessions.generate(self.principal, "openai", id or str(uuid.uuid4()), asked, claim)

    def embed(self, *texts, claim=None, **spec):
        asked = EmbedSpec("vectors", texts, **spec)
        return self.sessions.generate(self.principal, "openai", str(uuid.uuid4()), asked, claim)

    def speak(self, claim=None, id=None, **spec):
        asked = SpeakSpec(**{"model": "tone", "voice": "alloy"} | spec)
        return self.sessions.speak(self.principal, "openai", id or str(uuid.uuid4()), asked, claim)

    def infer(self, *inputs, **spec):
        asked = InferSpec("tensors", inputs, **spec)
        return self.sessions.generate(self.principal, "open-inference", str(uuid.uuid4()), asked)

    def tokens(self):
        """Of each dimension, as the ledger has them."""
        sums = {}
        for entry in self.ledger.entries:
            sums[entry.quantity.dimension] = sums.get(entry.quantity.dimension, 0) + entry.quantity.amount
        return {dimension: amount for dimension, amount in sums.items() if amount}

    @property
    def principal(self):
        return self.keys.authenticate("secret", Scope.TRANSCRIBE)

    def requires_signatures(self):
        """From now on, of all speech. Nothing is there to sign with: what would be signed fails."""
        self.keys.marks = Marking.SIGNED
        self.sessions._provenance = object()

    async def claim(self, key, fingerprint):
        """As for a request of its own."""
        opening = Opening("POST", "/", headers={"idempotency-key": key}, request_id=str(uuid.uuid4()))
        return await self.sessions.claim(self.principal, opening, fingerprint)

    def charged(self, session=None):
        """Milliseconds of each channel."""
        sums = {}
        for entry in self.ledger.entries:
            if session is None or entry.session == session.id:
                assert entry.quantity.dimension is Dimension.STT_AUDIO_MS
                sums[entry.channel] = sums.get(entry.channel, 0) + entry.quantity.amount
        return sums

    def metrics(self):
        return self.observer.render().decode()


async def batches_of(session):
    """Every event, as many at a time as came at once."""
    return [batch async for batch in session.events()]


async def said(session):
    """Every event, one by one."""
    return [event for batch in await batches_of(session) for event in batch]


async def listen(session, events):
    """Every event, as it comes."""
    async for batch in session.events():
        events += batch


async def first_final(session):
    """Up to the first final, as a caller who leaves then."""
    async for batch in session.events():
        for event in batch:
            if isinstance(event, Final):
                return event
    raise AssertionError("no final")


async def pour(session, pcm, piece_ms=100):
    for at in range(0, len(pcm), piece_ms * 32):
        await session.feed(Audio(pcm[at : at + piece_ms * 32]))


async def until(condition):
    """Lets everything else run until then."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0)


async def closed():
    """When every session that has ended has told the ledger so; an answer does not wait for that."""
    closing = [task for task in asyncio.all_tasks() if task.get_name().startswith("close ")]
    if closing:
        await asyncio.wait(closing)
