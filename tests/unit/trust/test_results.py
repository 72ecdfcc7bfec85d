"""Test results as evidence: what files of JUnit XML say, and of which control."""

import hashlib
from pathlib import Path

import pytest

from antiphon.core.errors import CallerError
from antiphon.trust.evidence import results
from antiphon.trust.evidence.controls import FRAMEWORKS
from antiphon.trust.evidence.results import SUBJECTS, read_results, results_data, results_page

SUITE = """<?xml version="1.0" encoding="utf-8"?>
<testsuites name="pytest tests"><testsuite name="pytest" timestamp="2026-11-30T09:00:00+00:00" hostname="h">
<properties><property name="version" value="0.1.0"/></properties>
<testcase classname="tests.unit.trust.test_auth" name="test_a" time="0.1"/>
<testcase classname="tests.unit.trust.test_auth.TestClass" name="test_b"><failure>secret</failure></testcase>
<testcase classname="tests.unit.trust.test_notary" name="test_c"><skipped/></testcase>
<testcase classname="tests.unit.audio.test_other" name="test_|d"><error/></testcase>
</testsuite></testsuites>"""


def write(tmp_path, text, name="unit.xml"):
    path = tmp_path / name
    path.write_text(text)
    return path


def test_a_file_is_summed_up_by_subject(tmp_path):
    path = write(tmp_path, SUITE)
    file = read_results(path)
    assert (file.version, file.begun) == ("0.1.0", ("2026-11-30T09:00:00+00:00",))
    assert file.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    page = "\n".join(results_page("soc2", "0.1.0", [file, file]))
    assert "| 1 passed, 2 failed, 1 skipped |" in page
    assert "2 passed, 2 failed, 0 skipped.\n- failed: `test_auth::test_b`" in page
    assert "Controls: CC6.1, CC6.2, CC6.3." in page
    assert "0 passed, 0 failed, 2 skipped." in page
    assert "**None of these tests is in the files.**" in page
    assert "Synthetic speech" not in page  # of no control of this framework
    assert "secret" not in page
    assert results_data([file])["files"][0]["failures"] == ["test_auth::test_b", "test_other::test_|d"]


def test_without_files_the_page_says_so():
    assert "**No test results were given.**" in "\n".join(results_page("gdpr", "0.1.0", []))
    assert results_data([])["files"] == []


@pytest.mark.parametrize(
    "text", ["", "<a/>", "{}", '<!DOCTYPE x [<!ENTITY a "b">]><testsuites>&a;</testsuites>', "<testsuites>"]
)
def test_what_is_no_file_of_results_is_refused(tmp_path, text):
    with pytest.raises(CallerError):
        read_results(write(tmp_path, text))


def test_a_file_has_a_bound_and_must_exist(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "MAX_FILE_BYTES", 100)
    with pytest.raises(CallerError, match="larger than 100 bytes"):
        read_results(write(tmp_path, SUITE))
    with pytest.raises(CallerError, match="cannot be read"):
        read_results(tmp_path / "absent.xml")


def test_the_table_names_tests_and_controls_that_exist():
    modules = {path.stem for path in (Path(__file__).parents[3] / "tests").rglob("test_*.py")}
    for subject in SUBJECTS:
        assert set(subject.modules) <= modules
        for framework, references in subject.controls.items():
            assert set(references) <= {each.reference for each in FRAMEWORKS[framework][1]}
    named = [module for subject in SUBJECTS for module in subject.modules]
    assert len(named) == len(set(named))
