"""Sessions on fakes: only the event loop, the runner and its threads are real."""

import asyncio
import time
import uuid
from pathlib import Path

from antiphon.audio.decode import Decoder
from antiphon.calls.filters import no_filters
from antiphon.calls.services import Services
from antiphon.catalogue.catalogue import Catalogue
from antiphon.catalogue.language import Served
from antiphon.catalogue.voices import Voice, Voices
from antiphon.core.audio import AudioFormat, Encoding
from antiphon.core.call import Call
from antiphon.core.errors import KeysUnavailable, Unauthenticated
from antiphon.core.events import Audio, Final
from antiphon.core.identity import NO_ORGANISATION, USUAL_SCOPES, Principal, Scope
from antiphon.core.policy import Marking, Policy
from antiphon.core.specs import EmbedSpec, GenerateSpec, InferSpec, SpeakSpec, TranscribeSpec
from antiphon.core.stores import AnswerBounds, ServerStores
from antiphon.core.usage import Dimension
from antiphon.core.wire import Opening
from antiphon.jobs.service import Service
from antiphon.jobs.tiers import Tiers
from antiphon.metering.allowances import Allowances
from antiphon.metering.pricing.book import NoBook
from antiphon.observe.observer import Observer
from antiphon.scheduler.runner import Runner, Settings
from antiphon.scheduler.steps import Steps
from antiphon.session.door import Door
from antiphon.session.keeping import Keeper
from antiphon.session.places import CallKind
from antiphon.session.sessions import Bounds, Sessions
from antiphon.slo.objectives import Objectives
from antiphon.slo.shares import Bound, Shares
from antiphon.stores.sqlite.answers import SqliteAnswers
from antiphon.testing import (
    FakeAligner,
    FakeClock,
    FakeDetector,
    FakeDirectory,
    FakeEmbedder,
    FakeGenerator,
    FakeInferrer,
    FakeJobs,
    FakeLedger,
    FakeRecogniser,
    FakeResources,
    FakeSynthesiser,
)
from antiphon.trust.audit import Auditor

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
        self.note_gate = asyncio.Event()  # and notes at this, before they are written
        self.note_gate.set()
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

    async def note(self, owed):
        await self.note_gate.wait()
        await super().note(owed)


class FakeKeys:
    """One key, 'secret', of `project`, until `revoked`; `error` is what `refresh` raises, `marks` what its project
    requires. With `trouble`, none is let in.
    """

    def __init__(self, clock):
        self.unix_ms = clock.unix_ms
        self.trouble = None
        self.unknown_for_long = False
        self.revoked = False
        self.project = "acme"
        self.marks = Marking.MARKED
        self.budgets = self.limits = ""
        self.organised, self.organisations = {}, {}  # the organisation of each project; organisations by their ids
        self.error = None
        self.hooks = []

    def webhooks(self, project):
        return [each for each in self.hooks if each.project == project]

    def authenticate(self, secret, scope):
        self.check()
        if secret != "secret" or self.revoked:
            raise Unauthenticated("the API key is not valid")
        return Principal(self.project, "k1" if self.project == "acme" else f"key of {self.project}", USUAL_SCOPES)

    def check(self):
        if self.trouble:
            raise KeysUnavailable("API keys cannot be checked at the moment.")

    def holds(self, key_id):
        return not self.revoked

    def check_limits(self, key_id, address, surface=""):
        pass

    def models(self, key_id):
        return ()

    def labels(self, project, tags):
        return tags

    def policy(self, project):
        organisation = self.organised.get(project, "")
        return Policy(marking=self.marks, budgets=self.budgets, limits=self.limits, organisation=organisation)

    def projects(self):
        return {self.project, *self.organised}

    def organisation(self, organisation):
        return self.organisations.get(organisation, NO_ORGANISATION)

    def refresh(self):
        if self.error:
            raise self.error


class FakeFetcher:
    """Gives `media` once `gate` is open. `urls` are what was asked for."""

    def __init__(self):
        self.media = b""
        self.gate = asyncio.Event()
        self.urls = []

    async def fetch(self, url, max_bytes=None):
        self.urls.append(url)
        await self.gate.wait()
        return self.media


class House:
    """Everything a session needs, and what a transport does with it."""

    def __init__(self):
        self.clock = FakeClock()
        self.ledger = GatedLedger()
        self.keys = FakeKeys(self.clock)
        self.fetcher = FakeFetcher()
        self.filters = no_filters  # that each call is given when it opens
        self.filter_failures = []
        self.recogniser = FakeRecogniser()
        self.detector = FakeDetector()
        self.runner = Runner(self.recogniser, self.detector, self.clock, Settings(tick_ms=0), lambda report: None)
        self.observer = Observer(Objectives(), self.clock)
        self.observer.watch_recogniser("tiny", self.runner.load)
        decoder = Decoder()
        self.books = {}  # price books, by project
        self.alerts = []
        self.allowances = Allowances(
            *(self.keys.policy, self.keys.projects, self.keys.organisation, self._book),
            *(self.ledger, self.clock, [self._alert]),
        )
        services = self.services = Services(
            self.clock,
            self.ledger,
            decoder,
            Steps(2, self.clock),
            self.fetcher,
            Shares(Bound(8)),
            Shares(Bound(64)),
            self.observer,
            lambda project, tags: self.keys.labels(project, tags),
            lambda call: self.filters(call),
            lambda call, error: self.filter_failures.append((call.id, error)),
            self.allowances,
        )
        self.generator = FakeGenerator()
        self.embedder = FakeEmbedder()
        self.inferrer = FakeInferrer()
        self.served = {
            "tiny": Served("tiny", self.runner, TranscribeSpec),
            "tone-2026": Served("tone-2026", None, SpeakSpec),
            "counter-2026": Served("counter-2026", self.generator, GenerateSpec, "fp_1", successor="counter-2027"),
            "vectors-2026": Served("vectors-2026", self.embedder, EmbedSpec),
            "tensors-2026": Served("tensors-2026", self.inferrer, InferSpec),
        }
        aliases = {
            "nova-3": "tiny",
            "tone": "tone-2026",
            "counter": "counter-2026",
            "vectors": "vectors-2026",
            "tensors": "tensors-2026",
        }
        catalogue = self.catalogue = Catalogue(self.served, aliases, self.clock, 1_700_000_000)
        self.synthesiser = FakeSynthesiser(self.clock)
        self.aligner = FakeAligner()
        voice = Voice("buzz", self.synthesiser, Steps(2, self.clock))
        self.voices = Voices(catalogue, {"tone-2026": [voice]}, {"alloy": "buzz"}, self.aligner)
        most = {CallKind.LIVE: 4, CallKind.RECORDING: 2, CallKind.GENERATION: 4}
        bounds = Bounds({kind: Bound(most.get(kind, 256)) for kind in CallKind})
        self.keep_s = {}  # of each project
        self.kept = SqliteAnswers(Path(":memory:"), self.clock, AnswerBounds())
        keeper = self.keeper = Keeper(self.kept, self._keeps, self.clock)
        self.sessions = Sessions(services, self.keys, catalogue, self.voices, keeper, None, bounds)
        self.files, self.passing = FakeJobs(self.clock), FakeJobs(self.clock)
        self.resources = FakeResources(self.clock)
        stores = ServerStores(None, None, self.ledger, None, None, self.files, self.passing, self.resources)
        self.tiers = Tiers(stores, self._keeps)
        self.jobs = Service(self.tiers, self.clock)
        self.auditor = Auditor(self.ledger, FakeDirectory(), self.clock, self.keys.policy)
        self.door = Door(self.sessions, self.keys, self.clock, self.jobs, self.auditor, self.resources)

    async def close(self):
        """Ends what a call may have started: timers, threads, and the process that decoders are forked from."""
        self.ledger.gate.set()
        await self.keeper.close()
        await self.runner.stop()
        await self.services.decoder.close()

    async def budget(self, *budgets, limits=""):
        """Sets the budgets of the project, one a line, and waits until they are known."""
        self.keys.budgets, self.keys.limits = "\n".join(budgets), limits
        await self.allowances.start()

    def used(self):
        """What is used, reserved and left of each budget, by its name."""
        states = self.allowances.states(self.keys.project)
        return {each.budget.name: (each.used, each.reserved, each.left) for _, each in states}

    def _book(self, project):
        if project not in self.books:
            raise NoBook("no price book")
        return self.books[project]

    def _alert(self, project, alert):
        self.alerts.append((alert.budget.name, alert.percent))

    def _keeps(self, project):
        return self.keep_s.get(project, 0)

    @staticmethod
    def _id(claim, id):
        return id or (claim.session if claim else str(uuid.uuid4()))

    def open(self, claim=None, id=None, **spec):
        form = AudioFormat(spec.pop("encoding", Encoding.LINEAR16), 16_000, spec.pop("channels", 1))
        request = TranscribeSpec(
            **{"model": "nova-3", "format": form, "live": True, "incremental": True, "endpointing_ms": 300} | spec
        )
        return self.sessions.transcribe(Call(self._id(claim, id), self.principal, "deepgram", request, claim))

    def generate(self, claim=None, id=None, **spec):
        request = GenerateSpec(**{"model": "counter", "prompt": "please count for me", "stream": True} | spec)
        return self.sessions.generate(Call(self._id(claim, id), self.principal, "openai", request, claim))

    def embed(self, *texts, claim=None, **spec):
        request = EmbedSpec("vectors", texts, **spec)
        return self.sessions.generate(Call(str(uuid.uuid4()), self.principal, "openai", request, claim))

    def speak(self, claim=None, id=None, **spec):
        request = SpeakSpec(**{"model": "tone", "voice": "alloy"} | spec)
        return self.sessions.speak(Call(self._id(claim, id), self.principal, "openai", request, claim))

    def infer(self, *inputs, **spec):
        request = InferSpec("tensors", inputs, **spec)
        return self.sessions.generate(Call(str(uuid.uuid4()), self.principal, "open-inference", request))

    def tokens(self):
        """Of each dimension, as the ledger has them."""
        sums = {}
        for entry in self.ledger.entries:
            sums[entry.quantity.dimension] = sums.get(entry.quantity.dimension, 0) + entry.quantity.amount
        return {dimension: amount for dimension, amount in sums.items() if amount}

    def durable(self):
        """The same, with what is noted beyond the entries."""
        sums = self.tokens()
        for noted in self.ledger.notes.values():
            for (dimension, _), amount in noted.items():
                sums[dimension] = sums.get(dimension, 0) + amount
        return sums

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
            if session is None or entry.session == session.call.id:
                assert entry.quantity.dimension is Dimension.STT_AUDIO_MS
                sums[entry.channel] = sums.get(entry.channel, 0) + entry.quantity.amount
        return sums

    def metrics(self):
        return self.observer.render().decode()


async def batches_of(session):
    """Every event, as many at a time as came at once."""
    return [batch async for batch in session.events()]


async def events_of(session):
    """Every event, one by one."""
    return [event for batch in await batches_of(session) for event in batch]


async def listen(session, events):
    """Every event, as it comes."""
    async for batch in session.events():
        events += batch


def kinds(house):
    """What kind the entries in the ledger are of, in order."""
    return [entry.kind for entry in house.ledger.entries]


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
    async with asyncio.timeout(60):
        while not condition():
            time.sleep(0)  # noqa: ASYNC251  # or threads would wait for the interpreter at each step of theirs
            await asyncio.sleep(0)


async def closed():
    """When every session that has ended has told the ledger so; an answer does not wait for that."""
    closing = [task for task in asyncio.all_tasks() if task.get_name().startswith("close ")]
    if closing:
        await asyncio.wait(closing)
