"""A real server over a real socket, on the real models."""

import os
import resource
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from antiphon.models import Store

API_KEY = "conformance-test-key"
START_S = 300  # of a machine that does other things


@dataclass(frozen=True, slots=True)
class Server:
    """A running server."""

    base_url: str
    api_key: str
    data_dir: Path
    pid: int

    @property
    def ws_url(self) -> str:
        return self.base_url.replace("http", "ws", 1)


# Settings of servers that start sooner than one with all models: without any, and with one.
LIGHT = "[models]\n[engines]\n"
SPEECH = '[models]\n"nova-3" = "moonshine-tiny-en"\n"whisper-1" = "moonshine-tiny-en"\n[engines]\n'
VOICE = """
[models]
piper = { engines = ["joe"] }
"tts-1" = "piper"
[engines.joe]
kind = "piper"
model = "en-us-joe-medium"
[voices]
alloy = "joe"
"aura-2-thalia-en" = "joe"
"""
LANGUAGE = """
[models]
"smollm2-135m-instruct" = { engines = ["smollm2-135m-instruct"] }
"gpt-4o-mini" = "smollm2-135m-instruct"
[engines.smollm2-135m-instruct]
kind = "openvino"
model = "smollm2-135m-instruct"
weights = "int8"
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@contextmanager
def served(data_dir: Path, models: Store, settings: str = "", descriptors: int = 0) -> Iterator[Server]:
    """A server until the end of this, at which it ends itself when it is told to. It has so many `descriptors`."""
    process, url = start(data_dir, models, settings, descriptors=descriptors)
    yield Server(url, API_KEY, data_dir, process.pid)
    process.terminate()
    assert process.wait(20) == 0


def start(
    data_dir: Path,
    models: Store,
    settings: str = "",
    *,
    command: Sequence[str] = (sys.executable, "-m", "antiphon"),
    flags: Sequence[str] = ("--offline",),
    cwd: Path | None = None,
    descriptors: int = 0,
    **environment: str,
) -> tuple[subprocess.Popen[str], str]:
    """A server process and its URL, once it says that it serves. What it logs is in the data directory's `log`;
    `settings` are more of its configuration. It is started as `command` in `cwd`.
    """
    data_dir.mkdir(parents=True, exist_ok=True)
    if not (data_dir / "models").exists():
        (data_dir / "models").symlink_to(models.root)
        (models.root / "converted").mkdir(exist_ok=True)
        (data_dir / "converted").symlink_to(models.root / "converted")  # rewriting them takes seconds
    config = data_dir / "test.toml"
    config.write_text('[fetch]\nallow = ["127.0.0.0/8"]\n' + settings)
    log = data_dir / "log"
    with log.open("a") as stderr:
        process = subprocess.Popen(
            [*command, "serve", "--port", "0", "--config", str(config), *flags],
            cwd=cwd,
            env={**os.environ, "ANTIPHON_DATA_DIR": str(data_dir), "ANTIPHON_API_KEY": API_KEY, **environment},
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            preexec_fn=(lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors,) * 2))
            if descriptors
            else None,
        )
    watchdog = threading.Timer(START_S, process.kill)
    watchdog.start()
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("Antiphon serves on "):
            watchdog.cancel()
            threading.Thread(target=process.stdout.read, daemon=True).start()
            return process, line.split()[-1]
    watchdog.cancel()
    raise AssertionError(f"the server did not start: exit code {process.wait(START_S)}\n{log.read_text()[-2000:]}")
