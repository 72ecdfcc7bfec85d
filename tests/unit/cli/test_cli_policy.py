"""`antiphon policy`, and the settings that it explains."""

import pytest
from typer.testing import CliRunner

from antiphon.cli import app
from antiphon.core.errors import CallerError, NotFound, UnknownModel

SETTINGS = """
region = "eu-de"
[profiles]
new = "strict"
projects = { clinic = "hipaa" }
[models]
big = { engines = ["near", "far"] }
gpt-4o = "big"
[engines.near]
kind = "openai"
server = "vllm"
url = "http://127.0.0.1:1"
model = "m"
region = "eu-fr"
processor = "self"
retention = "none"
[engines.far]
kind = "openai"
server = "vllm"
url = "http://127.0.0.1:2"
model = "m"
region = "us-east"
processor = "acme"
agreements = ["dpa", { name = "baa", until = 2020-01-31 }]
retention = "30d"
[engines.joe]
kind = "piper"
model = "en-us-joe-medium"
[voices]
alloy = "joe"
"""


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setenv("ANTIPHON_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("COLUMNS", "300")
    (tmp_path / "antiphon.toml").write_text(SETTINGS)

    def call(*arguments):
        config = ("--config", str(tmp_path / "antiphon.toml"))
        return CliRunner().invoke(app, (*arguments, *config), catch_exceptions=False)

    return call


def rows(text):
    """The cells of each line, by the first."""
    lines = (line.split("  ") for line in text.splitlines() if line.strip())
    cells = ([cell.strip() for cell in line if cell.strip()] for line in lines)
    return {line[0]: line[1:] for line in cells}


def test_a_new_project_begins_with_the_profile_and_the_engines_are_explained(run):
    run("projects", "create", "acme")
    shown = run("policy", "show", "--project", "acme").stdout
    assert "processors: self\n" in shown
    assert "tags: none\n" in shown
    explained = run("policy", "explain", "--project", "acme", "--model", "gpt-4o")
    assert explained.exit_code == 0
    assert rows(explained.stdout)["near"][:4] == ["yes", "eu-fr", "self", "no retention"]
    far = rows(explained.stdout)["far"]
    assert far[:4] == ["no", "us-east", "acme", "retention of 30d"]
    assert far[4] == "processor self is required, acme; no retention is required, retention of 30d"


def test_a_command_says_by_its_status_that_nothing_may_serve(run):
    run("projects", "create", "acme", "--regions", "mars")
    assert run("policy", "explain", "--project", "acme", "--model", "big").exit_code == 1
    voice = run("policy", "explain", "--project", "acme", "--model", "alloy")
    assert (voice.exit_code, rows(voice.stdout)["joe"][:3]) == (1, ["no", "eu-de", "self"])


def test_a_projects_profile_is_in_force_and_cannot_be_weakened(run):
    run("projects", "create", "clinic")
    shown = run("policy", "show", "--project", "clinic").stdout
    assert shown.startswith("profile: hipaa. ")
    assert "agreements: baa\n" in shown
    with pytest.raises(CallerError, match="requires 'hashed'"):
        run("projects", "set", "clinic", "--tags", "plain")
    explained = run("policy", "explain", "--project", "clinic", "--model", "big").stdout
    assert "agreement baa is required, baa ended on 2020-01-31" in explained


def test_what_is_not_there_is_said(run):
    run("projects", "create", "acme")
    with pytest.raises(NotFound, match="project none not found"):
        run("policy", "show", "--project", "none")
    with pytest.raises(UnknownModel):
        run("policy", "explain", "--project", "acme", "--model", "none")


def test_the_profiles_are_listed(run):
    listed = CliRunner().invoke(app, ("policy", "profiles")).stdout
    assert "eu: " in listed
    assert "  audit records keep their contents: 2192d or longer" in listed
