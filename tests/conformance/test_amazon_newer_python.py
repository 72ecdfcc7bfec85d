"""Amazon's newer SDK for Python, unmodified, over HTTP/2 and TLS. It needs Python 3.12 and libraries of its own, so it
runs in an environment of its own, which is made once in `.cache/test-newer-python`.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from amazon_client import SPEECH_ONLY, Secure, secured

from antiphon.models import Store
from antiphon.surfaces.amazon.parameters import TABLE
from serving import API_KEY

HERE = Path(__file__).parent / "newer_python"
CACHE = Path(__file__).parents[2] / ".cache" / "test-newer-python"
PYTHONS = ("python3.14", "python3.13", "python3.12")
IS_NEW = "import sys, venv; sys.exit(sys.version_info < (3, 12))"
INSTALL_S = 300
TALK_S = 60

pytestmark = [pytest.mark.long, pytest.mark.xdist_group("newer-python")]  # the environment is made once


def newer_python() -> str:
    """An interpreter of Python 3.12 or later: on the path, or of pyenv, whose commands work only where it is told."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found = [*filter(None, map(shutil.which, PYTHONS)), *map(str, sorted(pyenv.glob("3.*/bin/python3")))]
    for path in found:
        if subprocess.run([path, "-c", IS_NEW], capture_output=True, check=False).returncode == 0:
            return path
    pytest.skip("aws-sdk-transcribe-streaming needs Python 3.12 or later, and there is none here")


@pytest.fixture(scope="module")
def python() -> Path:
    """The interpreter of an environment with the SDK, made anew when what is wanted changes."""
    wanted, had = HERE / "requirements.txt", CACHE / "requirements.txt"
    python = CACHE / "bin" / "python"
    if not had.exists() or had.read_bytes() != wanted.read_bytes():
        shutil.rmtree(CACHE, ignore_errors=True)
        subprocess.run([newer_python(), "-m", "venv", "--without-pip", CACHE], check=True, timeout=INSTALL_S)
        pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-compile"]
        subprocess.run([*pip, "-r", str(wanted)], check=True, timeout=INSTALL_S)
        shutil.copy(wanted, had)
    return python


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory, models: Store) -> Iterator[Secure]:
    with secured(tmp_path_factory.mktemp("data"), models, SPEECH_ONLY) as server:
        yield server


def run(python: Path, server: Secure, speech: Path, *options: str, key: str = API_KEY) -> dict[str, Any]:
    command = [str(python), str(HERE / "transcribe.py"), server.url, key, str(speech), *options]
    ran = subprocess.run(command, timeout=TALK_S, capture_output=True, text=True, check=False)
    assert ran.stdout, ran.stderr
    told: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    return told


def test_a_live_stream(python: Path, secure: Secure, beckett: Path) -> None:
    told = run(python, secure, beckett, "enable_partial_results_stabilization=true", 'session_id="' + "a" * 36 + '"')
    assert told["error"] is None, told
    assert "ever tried" in " ".join(told["texts"]).lower()
    assert told["partials"]
    answer = told["answer"]
    assert (answer["language_code"], answer["media_encoding"], answer["media_sample_rate_hertz"]) == (
        "en-US",
        "pcm",
        16_000,
    )
    assert answer["session_id"] == "a" * 36
    assert answer["enable_partial_results_stabilization"] is True


def test_the_table_has_every_option_of_the_sdk(python: Path) -> None:
    names = "print(*StartStreamTranscriptionInput.__dataclass_fields__)"
    command = f"from aws_sdk_transcribe_streaming.models import StartStreamTranscriptionInput; {names}"
    ran = subprocess.run([str(python), "-c", command], capture_output=True, text=True, check=True, timeout=TALK_S)
    sent_as = {"media-sample-rate-hertz": "sample-rate"}
    options = {name.replace("_", "-") for name in ran.stdout.split()}
    assert {sent_as.get(name, name) for name in options} == {row.name for row in TABLE}


@pytest.mark.parametrize(
    ("key", "options", "name"),
    [
        ("wrong", (), "UnrecognizedClientException"),
        (API_KEY, ('language_code="de-DE"',), "BadRequestException"),
        (API_KEY, ('content_redaction_type="PII"', 'pii_entity_types="AGE"'), "BadRequestException"),
    ],
)
def test_refusals_have_their_names(
    python: Path, secure: Secure, beckett: Path, key: str, options: tuple[str, ...], name: str
) -> None:
    told = run(python, secure, beckett, *options, key=key)
    assert told["error"] == name or name in told["message"], told
