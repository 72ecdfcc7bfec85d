"""Makes the environments that the tests of frameworks need: `python install.py NAME...`, all of them without a name.

NAME is a folder here. With a `requirements.txt` it becomes a virtual environment in `.cache/test-frameworks/NAME`, with
a `package.json` a folder of Node's packages. One that is there with the same requirements is left as it is.
"""

import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

HERE = Path(__file__).parent
CACHE = HERE.parents[1] / ".cache" / "test-frameworks"
WANTED = ("requirements.txt", "package.json")
NAMES = sorted(path.parent.name for wanted in WANTED for path in HERE.glob(f"*/{wanted}"))
INSTALL_S = 900


def python(folder: Path) -> Path:
    return folder / "bin" / "python"


def install(name: str) -> Path:
    """The folder of that environment, made if it is not there as it is wanted now. Raises `RuntimeError` with what the
    installer wrote if it fails.
    """
    (wanted,) = (path for path in (HERE / name / file for file in WANTED) if path.exists())
    folder = CACHE / name
    had = folder / wanted.name
    if had.exists() and had.read_bytes() == wanted.read_bytes():
        return folder
    CACHE.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
    if wanted.name == "package.json":
        # Under another name until it is whole: npm wants the file there from the beginning.
        made = Path(tempfile.mkdtemp(dir=CACHE))
        shutil.copy(wanted, made)
        run("npm", "install", "--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts", cwd=made)
        made.rename(folder)
    else:
        venv.create(folder, with_pip=False, symlinks=True)
        target = "--python", str(python(folder))
        try:
            run(sys.executable, "-m", "uv", "pip", "install", "--quiet", *target, "-r", str(wanted), cwd=folder)
        except RuntimeError:  # it takes a tenth of pip's time, but needs not be there, and does not read pip's settings
            pip = (sys.executable, "-m", "pip", *target)
            run(*pip, "install", "--quiet", "--no-compile", "-r", str(wanted), cwd=folder)
        shutil.copy(wanted, had)
    return folder


def run(*command: str, cwd: Path) -> None:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=INSTALL_S, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{done.stdout}{done.stderr}")


def main() -> None:
    names = sys.argv[1:] or NAMES
    if unknown := [name for name in names if name not in NAMES]:
        sys.exit(f"usage: {sys.argv[0]} {NAMES}; there is no {', '.join(unknown)}")
    for name in names:
        print(f"{name} is ready in {install(name)}")


if __name__ == "__main__":
    main()
