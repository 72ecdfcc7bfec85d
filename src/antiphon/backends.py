"""The engines that the configuration names, and what they answer to: built here for the composition root."""

import asyncio
import os
from contextlib import AsyncExitStack
from dataclasses import fields
from datetime import UTC, date, datetime, time
from pathlib import Path

from antiphon import config as settings
from antiphon.config import Config, Invalid
from antiphon.core.ports import Aligner, Clause, Clock, Embedder, Generator, Inferrer
from antiphon.core.specs import EmbedSpec, GenerateSpec, InferSpec, Spec
from antiphon.engines.open_inference import Limits as TensorLimits
from antiphon.engines.open_inference import OpenInferenceGrpc, OpenInferenceHttp
from antiphon.engines.openai_compatible import PRESETS, OpenAICompatible, OpenAICompatibleEmbedder
from antiphon.engines.openai_compatible import Limits as UpstreamLimits
from antiphon.engines.openvino import OpenVinoGenerator, OpenVinoSettings
from antiphon.engines.piper import PiperSettings, PiperVoice
from antiphon.models import CATALOG, Store
from antiphon.scheduler.queue import Limits
from antiphon.scheduler.steps import Steps
from antiphon.session.language import Languages, Served
from antiphon.session.observe import Observer
from antiphon.session.pool import Backend, Pool
from antiphon.session.voices import Voice, Voices

PANGRAM = "The quick brown fox jumps over the lazy dog, and nobody on the whole farm seems to mind it very much."


async def build(
    config: Config, clock: Clock, observer: Observer, stack: AsyncExitStack, aligner: Aligner | None
) -> tuple[Languages, Voices]:
    """Every version with its pool or its voices, open until `stack` unwinds. Raises `Invalid`."""
    store = Store(config.directory / "models", offline=True)
    engines: dict[str, Generator | Embedder | Inferrer] = {}
    speakers: dict[str, Voice] = {}
    for name, engine in config.engines.items():
        built = await _engine(name, engine, config, store, clock)
        stack.push_async_callback(built.close)
        if isinstance(built, PiperVoice):
            speakers[name] = await _voice(name, built, clock)
        else:
            engines[name] = built
        if isinstance(built, OpenVinoGenerator | PiperVoice):
            observer.watch_engine(name, built.stats)
    served: dict[str, Served] = {}
    speaking: dict[str, list[Voice]] = {}
    aliases: dict[str, str] = {}
    for name, answer in config.models.items():
        if isinstance(answer, settings.Version):
            if len({_serves(config.engines[engine]) for engine in answer.engines}) > 1:
                raise Invalid(f"setting models.{name}.engines: they serve different kinds of calls")
            serves = _serves(config.engines[answer.engines[0]])
            if answer.hedge_after_ms and serves is not GenerateSpec:
                raise Invalid(f"setting models.{name}.hedge_after_ms: only language models are hedged")
            if serves is None:
                speaking[name] = [speakers[engine] for engine in answer.engines]
                continue
            pool = Pool(
                [
                    Backend(engine, engines[engine], config.engines[engine].weight, config.engines[engine].outstanding)
                    for engine in answer.engines
                ],
                clock,
                Limits(ttft_ms=config.objectives.ttft_ms),
                answer.hedge_after_ms,
            )
            stack.callback(asyncio.create_task(pool.watch(), name=f"watch {name}").cancel)
            observer.watch_pool(name, pool.stats)
            served[name] = _served(name, answer, pool, serves, config)
        elif answer != settings.DEFAULT_MODEL:
            aliases[name] = answer
    now_s = clock.unix_ms() // 1000
    spoken = {alias: version for alias, version in aliases.items() if version in speaking}
    written = {alias: version for alias, version in aliases.items() if version in served}
    voices = Voices(speaking, spoken, config.voices, now_s, aligner)
    return Languages(served, written, clock, now_s), voices


async def _voice(name: str, engine: PiperVoice, clock: Clock) -> Voice:
    """As loud as all others: how loud it is by itself is heard once."""
    from antiphon.audio.speech import gain_for  # arrays, which a mere gateway does without

    heard = b"".join([pcm async for pcm in engine.synthesise(Clause(PANGRAM))])
    gain = await asyncio.to_thread(gain_for, heard, engine.sample_rate)
    return Voice(name, engine, Steps(engine.workers, clock), gain, engine.language)


def _served(name: str, version: settings.Version, pool: Pool, serves: type[Spec], config: Config) -> Served:
    first = config.engines[version.engines[0]]
    return Served(
        version=name,
        engine=pool,
        serves=serves,
        fingerprint=fingerprint(first),
        deprecated_unix_s=_unix_s(version.deprecated),
        sunset_unix_s=_unix_s(version.sunset),
        successor=version.successor,
    )


def fingerprint(engine: settings.Engine) -> str:
    """Tells sets of weights apart; empty where the model is not of the catalog."""
    if not isinstance(engine, settings.OpenVino | settings.Embedding) or engine.model not in CATALOG:
        return ""
    weights = engine.weights if isinstance(engine, settings.OpenVino) else "file"
    return f"fp_{CATALOG[engine.model].fingerprint}" + (f"_{weights}" if weights != "file" else "")


def _serves(engine: settings.Engine) -> type[Spec] | None:
    """`None` is an engine that speaks."""
    match engine:
        case settings.OpenInference():
            return InferSpec
        case settings.Embedding() | settings.OpenAI(embeds=True):
            return EmbedSpec
        case settings.Piper():
            return None
    return GenerateSpec


def _unix_s(day: date | None) -> int | None:
    return None if day is None else int(datetime.combine(day, time(), UTC).timestamp())


async def _engine(
    name: str, engine: object, config: Config, store: Store, clock: Clock
) -> Generator | Embedder | Inferrer | PiperVoice:
    match engine:
        case settings.OpenVino():
            path = _path(f"engines.{name}.model", engine.model, store)
            kept_in = config.directory / "converted"
            return await OpenVinoGenerator.start(path, openvino_settings(engine), kept_in=kept_in)
        case settings.Embedding():
            from antiphon.engines.minilm import MiniLM  # it computes in this process, and a gateway need not hold that

            path = _path(f"engines.{name}.model", engine.model, store)
            return await asyncio.to_thread(MiniLM, path, threads=config.workers)
        case settings.Piper():
            path = _path(f"engines.{name}.model", engine.model, store)
            return await PiperVoice.start(path, PiperSettings(engine.speaker, engine.workers, engine.threads))
        case settings.OpenAI():
            if engine.server not in PRESETS:
                raise Invalid(f"setting engines.{name}.server: expected one of {', '.join(PRESETS)}")
            key = os.environ.get(engine.api_key_env) if engine.api_key_env else None
            if engine.api_key_env and not key:
                raise Invalid(f"setting engines.{name}.api_key_env: {engine.api_key_env} is not set")
            made = OpenAICompatibleEmbedder if engine.embeds else OpenAICompatible
            limits = UpstreamLimits(outstanding=engine.outstanding)
            return made(engine.url, engine.model, engine.server, clock, key, limits)
        case settings.OpenInference():
            reached = OpenInferenceGrpc if engine.grpc else OpenInferenceHttp
            return reached(engine.url, engine.model, clock, TensorLimits(outstanding=engine.outstanding))
    raise Invalid(f"setting engines.{name}: no such engine")


def openvino_settings(engine: settings.OpenVino) -> OpenVinoSettings:
    """As configured; how to sample, where nothing is set, as the makers of a model of the catalog advise."""
    chosen = {field.name: getattr(engine, field.name) for field in fields(OpenVinoSettings)}
    if advice := CATALOG.get(engine.model):
        unset = {name for name in ("temperature", "top_p") if chosen[name] is None}
        chosen |= {name: getattr(advice, name) for name in unset}
    return OpenVinoSettings(**chosen)


def _path(setting: str, model: str, store: Store) -> Path:
    """Where a model of the catalog was pulled to, or the path that was given instead."""
    if model in CATALOG:
        return store.path(model)
    path = Path(model).expanduser()
    if not path.exists():
        raise Invalid(f"setting {setting}: {model!r} is no model of the catalog, and no such file")
    return path
