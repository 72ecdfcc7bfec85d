"""The load generator by every protocol at once against the real server and model: one stream each, five seconds."""

import asyncio
from pathlib import Path

import pytest

from antiphon.bench import clips
from antiphon.bench.client import run_level
from antiphon.bench.measure import Level
from antiphon.bench.protocols.line import Target
from antiphon.bench.protocols.table import PROTOCOLS
from antiphon.core.errors import CallerError, EngineError
from antiphon.models import Store
from serving import API_KEY, free_port, served

SECONDS = 5


async def test_all_protocols_measure_the_same_speech(tmp_path: Path, models: Store, beckett: Path) -> None:
    clip, port = clips.load(beckett, {}), free_port()
    names = "".join(f'"{protocol.model}" = "moonshine-tiny-en"\n' for protocol in PROTOCOLS.values())
    with served(tmp_path, models, f"[grpc]\nport = {port}\n[models]\n{names}[engines]\n") as server:

        def target(name: str, key: str = API_KEY) -> Target:
            url = f"grpc://127.0.0.1:{port}" if name == "google" else server.base_url
            return Target(url, key, PROTOCOLS[name].model, protocol=name)

        levels: list[Level] = await asyncio.gather(
            *(run_level(target(name), [clip], 1, seconds=SECONDS, pid=None) for name in PROTOCOLS)
        )
        for name, level in zip(PROTOCOLS, levels, strict=True):
            assert (level.refused, level.failed) == (0, 0), (name, level.failures)
            assert level.utterances > 0, name
            assert level.lost == 0, (name, level)
            assert level.ttfb.p50 is not None
        for name in PROTOCOLS:
            with pytest.raises(CallerError):
                await run_level(target(name, "wrong"), [clip], 1, seconds=1, pid=None)
    for name in PROTOCOLS:
        with pytest.raises(EngineError, match="cannot reach"):
            await run_level(target(name), [clip], 1, seconds=1, pid=None)
