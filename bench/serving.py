"""Starts the servers that a comparison measures, and stops them with it."""

import os
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

KEY = "sk-bench-key-0123456789"
HOST = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class System:
    """A running server: what it is called in the results, its origin, its process, and its name for the model."""

    name: str
    url: str
    pid: int
    model: str


def start(
    stack: ExitStack,
    name: str,
    model: str,
    port: int,
    command: list[str],
    environment: dict[str, str] | None = None,
    *,
    ready: str = "/health",
    patience_s: int = 240,
) -> System:
    """Returns when it answers at `ready` with anything below 500. What it prints is kept, and shown where it fails."""
    printed = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "printed"
    with printed.open("wb") as output:
        process = subprocess.Popen(command, env={**os.environ, **(environment or {})}, stdout=output, stderr=output)
    stack.callback(process.wait, 60)
    stack.callback(process.terminate)
    url = f"http://{HOST}:{port}"
    deadline = time.monotonic() + patience_s
    while not _answers(url + ready):
        if process.poll() is not None or time.monotonic() > deadline:
            sys.exit(f"{name} does not start:\n{printed.read_text(errors='replace')[-4000:]}")
        time.sleep(0.3)
    return System(name, url, process.pid, model)


def start_antiphon(
    stack: ExitStack,
    model: str,
    port: int,
    config: str,
    models: Path | None = None,
    *,
    name: str = "Antiphon",
    python: str = sys.executable,
) -> System:
    """Start it as a user would, with a ledger in a folder of its own. `models` is a folder of pulled ones, `python` the
    interpreter of the environment that Antiphon is installed in.
    """
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    if models:
        (folder / "models").symlink_to(models.resolve())
    (folder / "config.toml").write_text(config)
    command = [python, "-m", "antiphon", "serve", "--port", str(port), "--data-dir", str(folder)]
    command += ["--config", str(folder / "config.toml")] + (["--offline"] if models else [])
    return start(stack, name, model, port, command, {"ANTIPHON_API_KEY": KEY}, ready="/readyz")


def _answers(url: str) -> bool:
    try:
        urllib.request.urlopen(url, timeout=2)
    except urllib.error.HTTPError as error:
        return error.code < 500
    except OSError:
        return False
    return True


def table(columns: tuple[str, ...], rows: list[list[str]]) -> str:
    """In Markdown."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
