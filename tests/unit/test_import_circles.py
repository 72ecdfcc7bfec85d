"""No two files import each other, directly or by way of others; an import for types alone counts."""

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import antiphon

PACKAGE = Path(antiphon.__file__).parent


def modules(package: Path) -> dict[str, Path]:
    found = {}
    for path in package.rglob("*.py"):
        parts = path.relative_to(package.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(path: Path, known: dict[str, Path]) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: a relative import"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in known else node.module or ""


def check(package: Path) -> None:
    """Raises `CycleError`, which names the files."""
    known = modules(package)
    graph = {name: {other for other in imports(path, known) if other != name} for name, path in known.items()}
    TopologicalSorter(graph).prepare()


def test_no_files_import_each_other():
    check(PACKAGE)


def test_a_circle_of_types_is_found(tmp_path):
    package = tmp_path / "p"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "a.py").write_text("from p.b import B\n")
    (package / "b.py").write_text("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from p import a\n")
    with pytest.raises(CycleError):
        check(package)
