"""Test results as evidence: which tests stand for which control, and what the given files (JUnit XML, as pytest writes
it) say of them. Nothing is inferred: tests that are in no file are said to be missing.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from antiphon.core.errors import CallerError

MAX_FILE_BYTES = 64 << 20
MAX_NAMED = 200  # failures of a subject that are named; the others are counted
MAX_SHOWN = 200  # characters of a name

PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"


@dataclass(frozen=True, slots=True)
class Subject:
    """What some test modules show, by their names without a folder, and the controls that it is for, by framework."""

    name: str
    modules: tuple[str, ...]
    controls: Mapping[str, tuple[str, ...]]


SUBJECTS = (
    Subject(
        "Keys, roles and every door: who is not known, or may not, gets nothing",
        (
            *("test_auth", "test_keys", "test_control", "test_limits", "test_signatures", "test_ephemeral"),
            *("test_door_matrix", "test_admin", "test_admin_roles", "test_oidc", "test_sign_in"),
        ),
        {
            "soc2": ("CC6.1", "CC6.2", "CC6.3"),
            "hipaa": ("164.308(a)(4)", "164.312(a)(2)(i)", "164.312(d)"),
            "gdpr": ("32",),
        },
    ),
    Subject(
        "The audit log: what is recorded, and that a change of it is found",
        (
            *("test_auditor", "test_checkpoint", "test_notary", "test_tampering", "test_door_audit"),
            *("test_ocsf", "test_cli_evidence"),
        ),
        {
            "soc2": ("CC6.6", "CC7.2", "CC7.3", "CC8.1"),
            "hipaa": ("164.308(a)(1)(ii)(D)", "164.308(a)(5)(ii)(C)", "164.312(b)", "164.312(c)(1)"),
            "gdpr": ("5(2)",),
            "ai-act": ("12",),
        },
    ),
    Subject(
        "Encryption of what is kept, and its erasure",
        ("test_vault", "test_master_key", "test_subjects", "test_data_subjects"),
        {
            "soc2": ("C1.2",),
            "hipaa": ("164.312(a)(2)(iv)",),
            "gdpr": ("5(1)(e)", "15, 20", "17", "25", "32"),
        },
    ),
    Subject(
        "Place and processor: what no engine satisfies is refused",
        ("test_residency", "test_place", "test_place_sdk", "test_profiles"),
        {"soc2": ("C1.1",), "hipaa": ("164.308(b), 164.314(a)",), "gdpr": ("28", "44 to 49")},
    ),
    Subject("Transmission", ("test_tls",), {"soc2": ("CC6.7",), "hipaa": ("164.312(e)(1)",), "gdpr": ("32",)}),
    Subject(
        "Synthetic speech is marked, and conversations disclose that they are with an AI",
        ("test_provenance", "test_synthetic_marks", "test_machine"),
        {"ai-act": ("50(1)", "50(2)")},
    ),
)


@dataclass(slots=True)
class Counts:
    """Tests by outcome, and the names of those that failed."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0
    failures: list[str] = field(default_factory=list)

    def add(self, name: str, outcome: str) -> None:
        setattr(self, outcome, getattr(self, outcome) + 1)
        if outcome == FAILED and len(self.failures) < MAX_NAMED:
            self.failures.append(name[:MAX_SHOWN])

    def shown(self) -> str:
        return f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped"


@dataclass(frozen=True, slots=True)
class ResultsFile:
    """One file: its name and SHA-256, when the tests began and the version they were of, as far as it says, and its
    tests with their outcomes, by module and name.
    """

    name: str
    sha256: str
    begun: tuple[str, ...]
    version: str
    tests: tuple[tuple[str, str, str], ...]

    @property
    def counts(self) -> Counts:
        found = Counts()
        for module, name, outcome in self.tests:
            found.add(f"{module}::{name}", outcome)
        return found


def read_results(path: Path) -> ResultsFile:
    """Read a file of results. Raises `CallerError` if it is none."""
    try:
        with path.open("rb") as opened:
            data = opened.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise CallerError(f"{path} cannot be read: {error.strerror}", param="results") from None
    if len(data) > MAX_FILE_BYTES:
        raise CallerError(f"{path} is larger than {MAX_FILE_BYTES} bytes", param="results")
    if b"<!DOCTYPE" in data or b"<!ENTITY" in data:
        raise CallerError(f"{path} has declarations of its own, as no file of test results has", param="results")
    try:
        root = ElementTree.fromstring(data)
    except (ElementTree.ParseError, ValueError, LookupError):
        raise CallerError(f"{path} is not XML", param="results") from None
    if root.tag not in ("testsuites", "testsuite"):
        raise CallerError(f"{path} is not a file of test results (JUnit XML)", param="results")
    begun = dict.fromkeys(suite.get("timestamp", "") for suite in root.iter("testsuite"))
    versions = (each.get("value", "") for each in root.iter("property") if each.get("name") == "version")
    tests = tuple((_module(case), case.get("name", ""), _outcome(case)) for case in root.iter("testcase"))
    digest = hashlib.sha256(data).hexdigest()
    return ResultsFile(path.name, digest, tuple(each for each in begun if each), next(versions, ""), tests)


def _module(case: ElementTree.Element) -> str:
    """Return the name of a test's module, without its folder and without a class in it."""
    parts = case.get("classname", "").split(".")
    return next((part for part in reversed(parts) if part.startswith("test_")), parts[-1])


def _outcome(case: ElementTree.Element) -> str:
    if case.find("failure") is not None or case.find("error") is not None:
        return FAILED
    return SKIPPED if case.find("skipped") is not None else PASSED


def by_subject(files: Iterable[ResultsFile]) -> list[tuple[Subject, Counts]]:
    """Return the tests of each subject, of all files together."""
    found = [(subject, Counts()) for subject in SUBJECTS]
    known = {module: counts for subject, counts in found for module in subject.modules}
    for file in files:
        for module, name, outcome in file.tests:
            if module in known:
                known[module].add(f"{module}::{name}", outcome)
    return found


def results_page(framework: str, version: str, files: Sequence[ResultsFile]) -> Iterator[str]:
    """Yield the lines of a page about the results, for the controls of a framework."""
    yield "# Test results"
    if not files:
        yield from ("", "**No test results were given.** `antiphon evidence --results FILE` adds them: JUnit XML, as")
        yield "`pytest --junit-xml=FILE` writes it in a checkout of the version that runs."
        return
    yield from (
        "",
        f"This server is Antiphon {version}. Whether the tests were of that version, the files below say, or nobody.",
        "",
    )
    yield "| file | SHA-256 | begun | version | tests |"
    yield "|---|---|---|---|---|"
    for file in files:
        begun, of = _cell(", ".join(file.begun) or "not said"), _cell(file.version or "not said")
        yield f"| {_cell(file.name)} | {file.sha256} | {begun} | {of} | {file.counts.shown()} |"
    for subject, counts in by_subject(files):
        if framework not in subject.controls:
            continue
        yield from ("", f"## {subject.name}", "", f"Controls: {', '.join(subject.controls[framework])}.", "")
        known = counts.passed + counts.failed + counts.skipped
        yield f"{counts.shown()}." if known else "**None of these tests is in the files.**"
        yield from (f"- failed: `{_cell(name)}`" for name in counts.failures)
        if counts.failed > len(counts.failures):
            yield f"- failed: {counts.failed - len(counts.failures)} more"
    failures = sum(file.counts.failed for file in files)
    yield from ("", f"All files together: {failures} failed. `test-results.json` names them, of whatever subject.")


def results_data(files: Sequence[ResultsFile]) -> dict[str, Any]:
    """Return the same as data, for all frameworks."""
    return {
        "files": [
            {
                "name": file.name,
                "sha256": file.sha256,
                "begun": file.begun,
                "version": file.version or None,
                **_counted(file.counts),
            }
            for file in files
        ],
        "subjects": [
            {"subject": subject.name, "modules": subject.modules, "controls": subject.controls, **_counted(counts)}
            for subject, counts in by_subject(files)
        ],
    }


def _counted(counts: Counts) -> dict[str, Any]:
    return {
        "passed": counts.passed,
        "failed": counts.failed,
        "skipped": counts.skipped,
        "failures": counts.failures,
    }


def _cell(text: str) -> str:
    """Return a text from a file as it can stand in a table."""
    return "".join(char for char in text if char.isprintable()).replace("|", "\\|").replace("`", "'")[:MAX_SHOWN]
