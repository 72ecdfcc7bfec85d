"""The command line as its users see it."""

import hashlib
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from antiphon import __version__
from antiphon.cli import COMMANDS, main
from antiphon.models import CATALOG, ModelEntry, Store


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Run the command in this process and give its exit code."""
    monkeypatch.setattr(sys, "argv", ["antiphon", *arguments])
    monkeypatch.setenv("COLUMNS", "120")
    try:
        main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def test_help_lists_every_command_and_loads_none() -> None:
    script = (
        "import sys; from antiphon.cli import main\n"
        "sys.argv = ['antiphon', '--help']\n"
        "try: main()\n"
        "finally: print(sorted({name.split('.')[0] for name in sys.modules} & {'numpy', 'onnxruntime', 'starlette', "
        "'sqlite3', 'av'}), [name for name in sys.modules if name.startswith('antiphon.cli.')])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    *shown, loaded = done.stdout.strip().splitlines()
    assert loaded == "[] []"
    for name, summary in COMMANDS.items():
        assert any(name in line and summary[:20] in line for line in shown)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, name, "--help") == 0
    shown = capsys.readouterr().out
    assert f"antiphon {name}" in shown
    assert "--install-completion" not in shown  # which would install it for a part of a command
    usage, about = [line for line in shown.partition("╭")[0].splitlines() if line.strip()][:2]
    assert "Usage" in usage
    assert len(about) > 10


def test_version(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "--version") == 0
    assert capsys.readouterr().out == f"antiphon {__version__}\n"


@pytest.mark.parametrize("arguments", [["nothing"], ["models", "nothing"], ["--nothing"], ["models", "path"]])
def test_wrong_usage_exits_with_2(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, *arguments) == 2
    assert "Usage: antiphon" in capsys.readouterr().err


@pytest.mark.parametrize("action", [["path"], ["pull", "--offline"]])
def test_an_absent_model_is_one_line_on_standard_error(
    action: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "models", *action, "silero-vad", "--data-dir", str(tmp_path)) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    last = shown.err.strip().splitlines()[-1]
    assert last.startswith("antiphon: the model silero-vad is not here: run `antiphon models pull silero-vad`")


def test_list_says_what_is_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    entry = CATALOG["silero-vad"]
    for file in entry.files:
        path = tmp_path / "models" / entry.name / entry.fingerprint / file.name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        os.truncate(path, file.size_bytes)  # the list goes by sizes
    monkeypatch.setenv("ANTIPHON_DATA_DIR", str(tmp_path))
    assert run(monkeypatch, "models", "list") == 0
    rows = {line.split()[0]: line.split() for line in capsys.readouterr().out.splitlines() if line.split()}
    assert set(CATALOG) < set(rows)
    assert rows["silero-vad"] == ["silero-vad", "voice-activity", "MIT", "2.3", "MB", "present"]
    assert rows["moonshine-tiny-en"][-1] == "absent"


def test_pull_is_content_with_what_is_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    content = b"call and response\n"
    file = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    facts = {
        "kind": "speech-to-text",
        "licence": "MIT",
        "sources": ["hf:owner/voice@main"],
        "files": {"words.txt": file},
    }
    entries = [ModelEntry.from_mapping(name, facts) for name in ("one", "two")]
    for entry in entries:
        folder = tmp_path / "models" / entry.name / entry.fingerprint
        folder.mkdir(parents=True)
        (folder / "words.txt").write_bytes(content)
    monkeypatch.setattr("antiphon.cli.models.Store", partial(Store, catalog={entry.name: entry for entry in entries}))
    monkeypatch.setenv("ANTIPHON_DATA_DIR", str(tmp_path))
    assert run(monkeypatch, "models", "pull", "--offline") == 0
    shown = capsys.readouterr().err
    assert all(entry.name in shown for entry in entries)
    assert run(monkeypatch, "models", "path", "two") == 0
    assert (Path(capsys.readouterr().out.strip()) / "words.txt").read_bytes() == content
