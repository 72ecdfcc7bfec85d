"""Each module here names an `ENGINE`, which is started for it. See README.md."""

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from real_engine import Engine, Running, client, free_port, ready

from antiphon.engines.openai_compatible import OpenAICompatible

GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"


@pytest.fixture(scope="module")
def running(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The engine that the module names as `ENGINE`."""
    engine: Engine = request.module.ENGINE
    named = os.environ.get("ANTIPHON_ENGINES")
    if not named:
        pytest.skip("ANTIPHON_ENGINES names no folder of engines (tests/engines/README.md)")
    folder = Path(named).absolute()
    model = folder / "model"
    for needed in (*(folder / name / "bin" / "python" for name in (engine.name, *engine.needs)), model / GGUF):
        if not needed.exists():
            pytest.skip(f"there is no {needed} (tests/engines/README.md)")
    port = free_port()
    log = tmp_path_factory.mktemp(engine.name) / "log"
    quiet = {"HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1", "PYTHONUNBUFFERED": "1"}
    variables = {"PORT": str(port), "MODEL": str(model / "smollm2"), "VLLM": str(folder / "vllm" / "bin" / "vllm")}
    path = f"{folder / engine.name / 'bin'}{os.pathsep}{os.environ['PATH']}"
    with log.open("wb") as out:
        process = subprocess.Popen(
            engine.command(port, model),
            env=os.environ | quiet | dict(engine.environment) | variables | {"PATH": path},
            cwd=log.parent,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    started = Running(f"http://127.0.0.1:{port}", process, log)
    try:
        asyncio.run(ready(engine, started))
        yield started
    finally:
        started.kill()


@pytest.fixture
async def engine(request: pytest.FixtureRequest, running: Running) -> AsyncIterator[OpenAICompatible]:
    made = client(request.module.ENGINE, running)
    yield made
    assert made.outstanding == 0
    await made.close()
