"""The published script that shows that nothing is kept (`examples/zero_retention.py`): its search, and the whole."""

import base64
import importlib.util
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import pytest

from antiphon.models import Store

SCRIPT = Path(__file__).parents[2] / "examples" / "zero_retention.py"
HEARING = (
    *("nova-3", "whisper-1", "scribe_v1", "scribe_v2_realtime", "amazon-transcribe", "universal-streaming-english"),
    *("universal", "best", "long", "default"),
)
VENDORS = ("Deepgram", "AssemblyAI", "ElevenLabs", "Amazon", "Google")


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("zero_retention", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look there
    spec.loader.exec_module(module)
    return module


def test_its_search_finds_each_canary_in_each_form(script, tmp_path):
    canaries = script.Canaries()
    word = canaries.word("somewhere").encode()
    canaries.hear("too short")
    canaries.hear("what the server has said, which is longer than a piece")
    (said,) = canaries.outputs
    forms = [word, word.decode().encode("utf-16-le"), said.encode(), quote(said).encode(), canaries.audio]
    forms += [base64.b64encode(b"x" * before + data + b"yy") for before in range(4) for data in (word, canaries.audio)]
    file = tmp_path / "file"
    for form in forms:
        file.write_bytes(b"before" + form + b"after")
        assert script.search([file], canaries), form
    file.write_bytes(b"canary" + said.encode()[1:] + canaries.audio[1:])
    assert script.search([file], canaries) == []


def test_it_searches_what_a_server_writes_to(script, tmp_path):
    for name in ("data/ledger.db-wal", "tmp/a/b", "home/.cache/x", "cwd/core.1", "log", "metrics"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "data" / "models").symlink_to("/usr")
    found = set(script.files_of(tmp_path, float("inf")))
    assert {path.relative_to(tmp_path).as_posix() for path in found} == {
        *("data/ledger.db-wal", "tmp/a/b", "home/.cache/x", "cwd/core.1", "log", "metrics"),
    }


@pytest.mark.long
@pytest.mark.parametrize("flags", [[], ["--keep"], ["--signal", "ABRT"]], ids=" ".join)
def test_nothing_is_left_of_a_server_that_is_killed(models: Store, beckett: Path, tmp_path, flags):
    config = tmp_path / "light.toml"
    names = "".join(f'"{name}" = "moonshine-tiny-en"\n' for name in HEARING)
    config.write_text(f"[models]\n{names}[engines]\n")
    command = [sys.executable, str(SCRIPT), "--models", str(models.root), "--config", str(config), *flags, str(beckett)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    for vendor in VENDORS:
        assert f"{vendor} live, open when the server was killed: results" in done.stdout
    assert done.stdout.count(": 200") >= 8
