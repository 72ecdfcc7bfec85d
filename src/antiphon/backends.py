"""The engines that the configuration names, and what they answer to: built here for the composition root.

Each is imported where it is built, so that a server holds in memory only those that it has.
"""

import asyncio
import os
from contextlib import AsyncExitStack
from dataclasses import fields
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import TYPE_CHECKING

from antiphon import config as settings
from antiphon.config import Config, Invalid
from antiphon.core.ports import Aligner, Clause, Clock, Embedder, Generator, Inferrer
from antiphon.core.specs import EmbedSpec, GenerateSpec, InferSpec, Spec
from antiphon.models import CATALOG, Store
from antiphon.scheduler.queue import Limits
from antiphon.scheduler.steps import Steps
from antiphon.session.language import Languages, Served
from antiphon.session.observe import Observer
from antiphon.session.pool import Backend, Pool
from antiphon.session.voices import Voice, Voices

if TYPE_CHECKING:
    from antiphon.engines.openvino import OpenVinoSettings

PANGRAM = "The quick brown fox jumps over the lazy dog, and nobody on the whole farm seems to mind it very much."


async def build(
    config: Config, clock: Clock, observer: Observer, stack: AsyncExitStack, aligner: Aligner | None
) -> tuple[Languages, Voices]:
    """Every version with its pool or its voices, open until `stack` unwinds. Raises `Invalid`."""
    store = Store(config.directory / "models", offline=True)
    engines: dict[str, Generator | Embedder | Inferrer] = {}
    speakers: dict[str, Voice] = {}
    for name, engine in config.engines.items():
        if isinstance(engine, settings.Piper):
            speakers[name] = await _voice(name, engine, store, clock, observer, stack)
        else:
            engines[name] = await _engine(name, engine, config, store, clock, observer)
            stack.push_async_callback(engines[name].close)
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


async def _voice(
    name: str, engine: settings.Piper, store: Store, clock: Clock, observer: Observer, stack: AsyncExitStack
) -> Voice:
    """As loud as all others: how loud it is by itself is heard once."""
    from antiphon.audio.speech import gain_for
    from antiphon.engines.piper import PiperSettings, PiperVoice

    path = _path(f"engines.{name}.model", engine.model, store)
    voice = await PiperVoice.start(path, PiperSettings(engine.speaker, engine.workers, engine.threads))
    stack.push_async_callback(voice.close)
    observer.watch_engine(name, voice.stats)
    heard = b"".join([pcm async for pcm in voice.synthesise(Clause(PANGRAM))])
    gain = await asyncio.to_thread(gain_for, heard, voice.sample_rate)
    return Voice(name, voice, Steps(voice.workers, clock), gain, voice.language)


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
            key = os.environ.get(engine.api_key_env) if engine.api_key_env else None
            if engine.api_key_env and not key:
                raise Invalid(f"setting engines.{name}.api_key_env: {engine.api_key_env} is not set")
            made = upstreams.OpenAICompatibleEmbedder if engine.embeds else upstreams.OpenAICompatible
            limits = upstreams.Limits(outstanding=engine.outstanding)
            return made(engine.url, engine.model, engine.server, clock, key, limits)
        case settings.OpenInference():
            from antiphon.engines import open_inference as tensors

            reached = tensors.OpenInferenceGrpc if engine.grpc else tensors.OpenInferenceHttp
            return reached(engine.url, engine.model, clock, tensors.Limits(outstanding=engine.outstanding))
    raise Invalid(f"setting engines.{name}: no such engine")


def openvino_settings(engine: settings.OpenVino) -> "OpenVinoSettings":
    """As configured; how to sample, where nothing is set, as the makers of a model of the catalog advise."""
    from antiphon.engines.openvino import OpenVinoSettings

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
