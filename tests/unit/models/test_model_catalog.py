"""What a catalog entry may say."""

from typing import Any

import pytest

from antiphon.core.errors import CallerError
from antiphon.models import CATALOG, ModelEntry, Source

HASH = "94e90a4654fc45cdfedb77c4c08e1739f48862998e58fada384b25118134f221"
GOOD: dict[str, Any] = {
    "kind": "speech-to-text",
    "licence": "MIT",
    "sources": ["hf:owner/voice@main/onnx", "file:~/voice"],
    "files": {"encoder.onnx": {"bytes": 12, "sha256": HASH}, "deep/words.txt": {"bytes": 0, "sha256": HASH}},
}


@pytest.mark.parametrize("name", CATALOG)
def test_the_catalog_keeps_its_own_rules(name: str) -> None:
    entry = CATALOG[name]
    files = {file.name: {"bytes": file.size_bytes, "sha256": file.sha256} for file in entry.files}
    rules = {"kind": entry.kind, "licence": entry.licence, "files": files}
    again = ModelEntry.from_mapping(name, {**rules, "sources": [str(source) for source in entry.sources]})
    assert again.fingerprint == entry.fingerprint
    assert again.size_bytes == entry.size_bytes
    assert [(one.where, one.folder) for one in again.sources] == [(one.where, one.folder) for one in entry.sources]


def test_a_table_becomes_an_entry() -> None:
    entry = ModelEntry.from_mapping("voice", GOOD)
    assert entry.sources == (Source("hf", "owner/voice@main", "onnx"), Source("file", "~/voice"))
    assert [file.name for file in entry.files] == ["encoder.onnx", "deep/words.txt"]
    assert entry.size_bytes == 12


@pytest.mark.parametrize(
    ("change", "setting"),
    [
        ({"kind": "magic"}, "models.voice.kind"),
        ({"licence": ""}, "models.voice.licence"),
        ({"license": "MIT"}, "models.voice.license"),
        ({"sources": []}, "models.voice.sources"),
        ({"sources": "file:/x"}, "models.voice.sources"),
        ({"sources": ["https://example.org/x"]}, "models.voice.sources"),
        ({"files": {}}, "models.voice.files"),
        ({"files": {"a": {"bytes": 1}}}, "models.voice.files.a"),
        ({"files": {"../a": {"bytes": 1, "sha256": HASH}}}, "models.voice.files.../a"),
        ({"files": {"/a": {"bytes": 1, "sha256": HASH}}}, "models.voice.files./a"),
        ({"files": {"a.part": {"bytes": 1, "sha256": HASH}}}, "models.voice.files.a.part"),
        ({"files": {"a": {"bytes": -1, "sha256": HASH}}}, "models.voice.files.a.bytes"),
        ({"files": {"a": {"bytes": True, "sha256": HASH}}}, "models.voice.files.a.bytes"),
        ({"files": {"a": {"bytes": 1, "sha256": HASH[1:]}}}, "models.voice.files.a.sha256"),
    ],
)
def test_a_wrong_setting_is_named(change: dict[str, Any], setting: str) -> None:
    with pytest.raises(CallerError) as raised:
        ModelEntry.from_mapping("voice", {**GOOD, **change})
    assert raised.value.param == setting
    assert raised.value.message.startswith(f"{setting}: ")


@pytest.mark.parametrize("name", ["", "..", "a/b", "Voice", ".staging"])
def test_a_name_that_is_no_folder_of_its_own_is_refused(name: str) -> None:
    with pytest.raises(CallerError):
        ModelEntry.from_mapping(name, GOOD)


@pytest.mark.parametrize(
    "text",
    [
        "pypi:voice",
        "pypi:voice>=1.0",
        "pypi:--index-url==1.0",
        "pypi:voice==1.0/../secrets",
        "pypi:voice==1.0/assets?platform=a b",
        "hf:owner/voice",
        "hf:owner@main",
        "hf:owner/voice@main/a//b",
        "hf:../voice@main",
        "file:relative",
        "ftp:owner/voice",
        "",
    ],
)
def test_a_source_of_no_known_form_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not|leaves"):
        Source.parse(text)


def test_a_fingerprint_is_of_the_files_alone() -> None:
    entry = ModelEntry.from_mapping("voice", GOOD)
    elsewhere = ModelEntry.from_mapping("other", {**GOOD, "sources": ["file:/elsewhere"], "licence": "BSD"})
    renamed = {"encoder2.onnx": GOOD["files"]["encoder.onnx"], "deep/words.txt": GOOD["files"]["deep/words.txt"]}
    assert entry.fingerprint == elsewhere.fingerprint
    assert entry.fingerprint != ModelEntry.from_mapping("voice", {**GOOD, "files": renamed}).fingerprint
