"""What the tests of vendors' SDKs for Node need: those SDKs, installed once, and a script beside them."""

import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

HERE = Path(__file__).parent / "node"
CACHE = Path(__file__).parents[2] / ".cache" / "test-node"
INSTALL_S = 300
NPM, NODE = shutil.which("npm"), shutil.which("node")

needs_node = [
    pytest.mark.skipif(not (NPM and NODE), reason="needs node and npm"),
    pytest.mark.xdist_group("node"),  # the packages are installed once
]


def beside_packages(script: str) -> Path:
    """The script, beside the packages that it needs; installed anew when they change, and there when all are."""
    wanted, had = (HERE / "package.json").read_text(), CACHE / "package.json"
    if not had.exists() or had.read_text() != wanted:
        CACHE.parent.mkdir(exist_ok=True)
        made = Path(tempfile.mkdtemp(dir=CACHE.parent))
        (made / "package.json").write_text(wanted)
        flags = ("--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts")
        subprocess.run([str(NPM), "install", *flags], cwd=made, check=True, timeout=INSTALL_S, capture_output=True)
        shutil.rmtree(CACHE, ignore_errors=True)
        made.rename(CACHE)
    return Path(shutil.copy(HERE / script, CACHE))
