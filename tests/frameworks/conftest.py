"""What came of a framework's script against a real server: see README.md."""

import functools
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import install
import pytest

from serving import Server

HERE = Path(__file__).parent
SCRIPT_S = 300
Results = dict[str, Any]


@pytest.fixture(scope="session")
def run(server: Server, beckett: Path) -> Callable[..., Results]:
    """Runs a script of a framework (`run` unless another is named) in that framework's environment, once, with further
    arguments; the framework is installed if it is not there.
    """

    @functools.cache
    def ran(name: str, script: str = "run", *arguments: str) -> Results:
        folder = install.install(name)
        if (HERE / name / "package.json").exists():
            # Beside the packages: Node looks for them from where a script is.
            command = ["node", str(shutil.copy(HERE / name / f"{script}.mjs", folder))]
        else:
            command = [str(install.python(folder)), str(HERE / name / f"{script}.py")]
        environment = {**os.environ, "PYTHONPATH": str(HERE / "shared"), "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(
            [*command, server.base_url, server.api_key, str(beckett), *arguments],
            env=environment,
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=SCRIPT_S,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-4000:]
        results: Results = json.loads(done.stdout.splitlines()[-1])
        return results

    return ran
