"""The engines in the configuration and their public names: built here for the composition root.

Each is imported where it is built, so that a server loads only those that it uses.
"""

import asyncio
import os
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, fields
from datetime import UTC, date, datetime, time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from antiphon import config as settings
from antiphon.catalogue.catalogue import Catalogue
from antiphon.catalogue.language import Served, Serves
from antiphon.catalogue.voices import Voice, Voices
from antiphon.config import Config, Invalid, secret_in
from antiphon.core.place import SELF
from antiphon.core.ports import Aligner, Clause, Clock, Embedder, Generator, Inferrer, Recogniser
from antiphon.core.redaction import Tagger
from antiphon.core.specs import EmbedSpec, GenerateSpec, InferSpec, SpeakSpec, TranscribeSpec
from antiphon.core.speech import SpeechEngine
from antiphon.models import CATALOG, Store, is_hub_name
from antiphon.observe.observer import Observer
from antiphon.pools.backend import Backend
from antiphon.pools.pool import Permitted, Pool, all_permitted
from antiphon.pools.queue import QueueLimits
from antiphon.scheduler.steps import Steps
from antiphon.supervision import supervisor
from antiphon.trust.redaction.tagging import Closing, LazyTagger

if TYPE_CHECKING:
    from antiphon.engines.openvino import OpenVinoSettings
    from antiphon.scheduler.runner import Settings

PANGRAM = "The quick brown fox jumps over the lazy dog, and nobody on the whole farm seems to mind it very much."


async def build(
    config: Config, clock: Clock, observer: Observer, stack: AsyncExitStack, permitted: Permitted = all_permitted
) -> tuple[Catalogue, Voices]:
    """Return every version with its engine or pool, open until `stack` unwinds. `permitted` returns which engines may
    serve a project. Raises `Invalid`.
    """
    store = Store(config.directory / "models", offline=True)
    recognisers = await _recognisers(config, store, clock, observer, stack)
    engines: dict[str, Generator | Embedder | Inferrer] = {}
    speakers: dict[str, Voice] = {}
    for name, engine in config.engines.items():
        if isinstance(engine, settings.Piper):
            speakers[name] = await _voice(name, engine, store, clock, observer, stack)
        elif not isinstance(engine, settings.Recogniser):
            engines[name] = await _engine(name, engine, config, store, clock, observer)
            stack.push_async_callback(engines[name].close)
    served: dict[str, Served] = {}
    speaking: dict[str, list[Voice]] = {}
    for name, version in config.versions.items():
        serves = _serving(name, version, config)
        behind: Pool | SpeechEngine | None = None
        if serves is TranscribeSpec:
            behind = recognisers.engines[version.engines[0]]
        elif serves is SpeakSpec:
            speaking[name] = [speakers[engine] for engine in version.engines]
        else:
            pool = behind = Pool(
                [_backend(engine, engines[engine], _table(engine, config)) for engine in version.engines],
                clock,
                QueueLimits(
                    config.limits.waiting, config.limits.wait_ms, config.objectives.ttft_ms, config.objectives.tpot_ms
                ),
                version.hedge_after_ms,
                permitted,
            )
            stack.callback(supervisor.start(f"probe {name}", pool.watch).cancel)
            observer.watch_pool(name, pool.stats)
        served[name] = _served(name, version, behind, serves, config)
    catalogue = Catalogue(served, config.aliases, clock, clock.unix_ms() // 1000)
    return catalogue, Voices(catalogue, speaking, config.voices, recognisers.aligner)


async def tagger(config: Config, stack: AsyncExitStack) -> Tagger | None:
    """Return the model that finds names and places, loaded at its first use; `None` if none is configured. Raises
    `Invalid`.
    """
    if not config.redaction.model:
        return None
    store = Store(config.directory / "models", offline=True)
    if config.redaction.model not in CATALOG:
        _path("redaction.model", config.redaction.model, store)
    lazy = LazyTagger(partial(_rampart, config.redaction.model, store))
    stack.push_async_callback(lazy.close)
    return lazy


def _rampart(model: str, store: Store) -> Closing:
    from antiphon.engines.rampart import Rampart

    return Rampart(_path("redaction.model", model, store), threads=1)


def _serving(name: str, version: settings.Version, config: Config) -> Serves:
    """Return the kind of call that the version serves. Raises `Invalid`."""
    if len({_serves(config.engines[engine]) for engine in version.engines}) > 1:
        raise Invalid(f"setting models.{name}.engines: they serve different types of models")
    serves = _serves(config.engines[version.engines[0]])
    if version.hedge_after_ms and serves is not GenerateSpec:
        raise Invalid(f"setting models.{name}.hedge_after_ms: only language models can be hedged")
    return serves


@dataclass(frozen=True, slots=True)
class _Recognisers:
    """Recognisers by the names of their engines; `aligner` is one that can find the times of words, if any."""

    engines: Mapping[str, SpeechEngine]
    aligner: Aligner | None


async def _recognisers(
    config: Config, store: Store, clock: Clock, observer: Observer, stack: AsyncExitStack
) -> _Recognisers:
    """Start the recognisers, each with a scheduler of its own."""
    runners: dict[str, SpeechEngine] = {}
    aligner: Aligner | None = None
    for name, table in config.recognisers.items():
        from antiphon.engines.silero import SileroVad
        from antiphon.scheduler.runner import Runner

        recogniser = await _recogniser(name, table, config, store, observer, stack)
        if isinstance(recogniser, Aligner):
            aligner = aligner or recogniser
        detector = await asyncio.to_thread(SileroVad, store.path(settings.DETECTOR) / "silero_vad.onnx")
        runner = Runner(recogniser, detector, clock, _scheduling(config), observer.batch)
        stack.push_async_callback(runner.stop)
        await runner.start()
        observer.watch_recogniser(name, runner.load)
        runners[name] = runner
    return _Recognisers(runners, aligner)


async def _recogniser(
    name: str, table: settings.Recogniser, config: Config, store: Store, observer: Observer, stack: AsyncExitStack
) -> Recogniser:
    if isinstance(table, settings.Whisper):
        from antiphon.engines.whisper import Whisper, WhisperSettings

        hub = is_hub_name(table.model)
        folder = store.path(table.model) if hub else _path(f"engines.{name}.model", table.model, store)
        whisper = await Whisper.start(folder, WhisperSettings(config.workers, table.language))
        stack.push_async_callback(whisper.close)
        observer.watch_engine(name, whisper.stats)
        return whisper
    from antiphon.engines.moonshine import Moonshine

    path, how = _path(f"engines.{name}.model", table.model, store), config.recognition
    return await asyncio.to_thread(Moonshine, path, speculative=how.speculative, batched=how.batched)


def _scheduling(config: Config) -> "Settings":
    """Return the scheduler's settings. Deadlines are shorter than the objectives: the end of speech is detected up to
    0.2 s late, and sending results takes time.
    """
    from antiphon.scheduler.policy import BatchLimits
    from antiphon.scheduler.runner import Settings
    from antiphon.scheduler.specs import Timing

    how, objectives = config.recognition, config.objectives
    timing = Timing(first_ms=max(50, objectives.stt_ttfb_ms - 20), final_ms=max(100, objectives.stt_final_ms - 240))
    return Settings(config.workers, how.tick_ms, timing, BatchLimits(rows=how.batch_rows if how.batched else 1))


async def _voice(
    name: str, engine: settings.Piper, store: Store, clock: Clock, observer: Observer, stack: AsyncExitStack
) -> Voice:
    """Start a voice, with a gain that makes all voices equally loud: its own loudness is measured once."""
    from antiphon.audio.speech import gain_for
    from antiphon.engines.piper import PiperSettings, PiperVoice

    path = _path(f"engines.{name}.model", engine.model, store)
    voice = await PiperVoice.start(path, PiperSettings(engine.speaker, engine.workers, engine.threads))
    stack.push_async_callback(voice.close)
    observer.watch_engine(name, voice.stats)
    speech = b"".join([pcm async for pcm in voice.synthesise(Clause(PANGRAM))])
    gain = await asyncio.to_thread(gain_for, speech, voice.sample_rate)
    return Voice(name, voice, Steps(voice.workers, clock), gain, voice.language)


def _table(engine: str, config: Config) -> settings.Backend:
    table = config.engines[engine]
    assert isinstance(table, settings.Backend)
    return table


def _backend(name: str, engine: Generator | Embedder | Inferrer, table: settings.Backend) -> Backend:
    """Return the backend of an engine. Requests inside an engine cannot be reordered, so they wait before one that
    declares how many it runs at once.
    """
    if isinstance(table, settings.OpenVino):
        return Backend(name, engine, table.weight, min(table.outstanding, table.max_sequences), always_streams=True)
    return Backend(name, engine, table.weight, table.outstanding)


def _served(
    name: str, version: settings.Version, behind: Pool | SpeechEngine | None, serves: Serves, config: Config
) -> Served:
    first = config.engines[version.engines[0]]
    return Served(
        version=name,
        engine=behind,
        serves=serves,
        fingerprint=fingerprint(first),
        deprecated_unix_s=_unix_s(version.deprecated),
        sunset_unix_s=_unix_s(version.sunset),
        successor=version.successor,
        by_others=any(config.processing[engine].processor != SELF for engine in version.engines),
        engines=version.engines,
    )


def fingerprint(engine: settings.Engine) -> str:
    """Return what identifies the weights; empty if the model is not in the catalog."""
    if not isinstance(engine, settings.OpenVino | settings.Embedding) or engine.model not in CATALOG:
        return ""
    weights = engine.weights if isinstance(engine, settings.OpenVino) else "file"
    return f"fp_{CATALOG[engine.model].fingerprint}" + (f"_{weights}" if weights != "file" else "")


def _serves(engine: settings.Engine) -> Serves:
    match engine:
        case settings.Moonshine() | settings.Whisper():
            return TranscribeSpec
        case settings.OpenInference():
            return InferSpec
        case settings.Embedding() | settings.OpenAI(embeds=True):
            return EmbedSpec
        case settings.Piper():
            return SpeakSpec
    return GenerateSpec


def _unix_s(day: date | None) -> int | None:
    return None if day is None else int(datetime.combine(day, time(), UTC).timestamp())


async def _engine(
    name: str, engine: settings.Engine, config: Config, store: Store, clock: Clock, observer: Observer
) -> Generator | Embedder | Inferrer:
    match engine:
        case settings.OpenVino():
            from antiphon.engines.openvino import OpenVinoGenerator

            path = _path(f"engines.{name}.model", engine.model, store)
            kept_in = config.directory / "converted"
            generator = await OpenVinoGenerator.start(path, openvino_settings(engine), kept_in=kept_in)
            observer.watch_engine(name, generator.stats)
            return generator
        case settings.Embedding():
            from antiphon.engines.minilm import MiniLM

            path = _path(f"engines.{name}.model", engine.model, store)
            return await asyncio.to_thread(MiniLM, path, threads=config.workers)
        case settings.OpenAI():
            from antiphon.engines import openai_compatible as upstreams

            if engine.server not in upstreams.PRESETS:
                raise Invalid(f"setting engines.{name}.server: expected one of {', '.join(upstreams.PRESETS)}")
            key = secret_in(os.environ, f"engines.{name}.api_key_env", engine.api_key_env) or None
            limits = upstreams.Limits(outstanding=engine.outstanding)
            server = (engine.url, engine.model, engine.server, clock, key, limits)
            if engine.embeds:
                return upstreams.OpenAICompatibleEmbedder(*server)
            return upstreams.OpenAICompatible(*server, frozenset(engine.cannot))
        case settings.OpenInference():
            from antiphon.engines import open_inference as tensors

            reached = tensors.OpenInferenceGrpc if engine.grpc else tensors.OpenInferenceHttp
            return reached(engine.url, engine.model, clock, tensors.Limits(outstanding=engine.outstanding))
    raise Invalid(f"setting engines.{name}: engine not found")


def openvino_settings(engine: settings.OpenVino) -> "OpenVinoSettings":
    """Return the configured settings; unset sampling settings are those that a catalog model's makers advise."""
    from antiphon.engines.openvino import OpenVinoSettings

    chosen = {field.name: getattr(engine, field.name) for field in fields(OpenVinoSettings)}
    if advice := CATALOG.get(engine.model):
        unset = {name for name in ("temperature", "top_p", "frequency_penalty") if chosen[name] is None}
        chosen |= {name: getattr(advice, name) for name in unset}
    return OpenVinoSettings(**chosen)


def _path(setting: str, model: str, store: Store) -> Path:
    """Return where a catalog model was pulled to, or the path that was given instead."""
    if model in CATALOG:
        return store.path(model)
    path = Path(model).expanduser().absolute()
    if not path.exists():
        raise Invalid(f"setting {setting}: {model!r} is neither a model in the catalog nor a file")
    return path
