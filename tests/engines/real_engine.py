"""A real engine, started on loopback with a small model, as a process group of its own."""

import asyncio
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from antiphon.core.errors import AntiphonError
from antiphon.engines.openai_compatible import Limits, OpenAICompatible

SERVERS = Path(__file__).parent / "servers"
START_S = 600


@dataclass(frozen=True, slots=True)
class Engine:
    """How an engine is started: `command` is given its port and its model's folder, and run from its environment, which
    is found under `name`; `model` is what it calls what it serves. `preset` is the kind of server. It may need other
    engines' environments too: `VLLM` is where vLLM's command would be.
    """

    name: str
    preset: str
    command: Callable[[int, Path], tuple[str | Path, ...]]
    model: str = "smollm2"
    environment: tuple[tuple[str, str], ...] = ()
    needs: tuple[str, ...] = ()


@dataclass(slots=True)
class Running:
    """`url` is the server's; `log` is what it said."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path

    def kill(self) -> None:
        """The server and everything it started, at once; some put what they start into groups of their own."""
        if self.process.poll() is not None:
            return
        for pid in (self.process.pid, *_descendants(self.process.pid)):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()


def _descendants(of: int) -> list[int]:
    told = subprocess.run(("ps", "-e", "-o", "pid=,ppid="), capture_output=True, check=True, text=True).stdout
    parents = {int(pid): int(parent) for pid, parent in (line.split() for line in told.splitlines())}
    found = [of]
    for known in found:
        found += [pid for pid, parent in parents.items() if parent == known]
    return found[1:]


class SystemClock:
    def now_ns(self) -> int:
        return time.monotonic_ns()

    def unix_ms(self) -> int:
        return time.time_ns() // 1_000_000


def client(engine: Engine, running: Running, model: str | None = None) -> OpenAICompatible:
    limits = Limits(silence_s=240)  # a first call may wait for what is still being loaded
    return OpenAICompatible(running.url, model or engine.model, engine.preset, clock=SystemClock(), limits=limits)


async def ready(engine: Engine, running: Running) -> None:
    waiting = client(engine, running)
    given_up = time.monotonic() + START_S
    try:
        while True:
            try:
                return await waiting.check()
            except AntiphonError:
                if running.process.poll() is not None or time.monotonic() > given_up:
                    pytest.fail(f"{engine.name} did not start:\n{running.log.read_text(errors='replace')[-4000:]}")
            await asyncio.sleep(1)
    finally:
        await waiting.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
