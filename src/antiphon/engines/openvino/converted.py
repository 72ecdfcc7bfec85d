"""Models with rewritten weights, kept on this disk: made once for each file, and again when it has changed.

Each has a folder named after its source. It is made in a process of its own, which frees all its memory, and renamed
into place, so a kill at any moment leaves none or a whole one. A damaged one is made again. Any of them may be deleted.
This module is that process, too.
"""

import fcntl
import hashlib
import json
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

from antiphon import children

LONGEST_S = 3600
_RULES = 3  # increase it whenever the same file would become another model
_MODEL = "openvino_model.xml"
_WEIGHTS = "openvino_model.bin"
_MADE_OF = "made_of.json"


def converted(source: Path, kept_in: Path) -> Path:
    """Return the folder of the model in int8 and its tokenizer, made if necessary. `source` is a GGUF file or a folder
    of OpenVINO files. Blocks, also while another process makes it.

    Raises `ValueError` for a model that cannot be rewritten, and `OSError` if it cannot be stored.
    """
    source, kept_in = source.resolve(), kept_in.absolute()
    folder = kept_in / f"{source.stem}-{hashlib.sha256(str(source).encode()).hexdigest()[:12]}"
    origin = _origin(source)
    kept_in.mkdir(parents=True, exist_ok=True)
    with (kept_in / f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if _is_whole(folder, origin):
            return folder
        staged = kept_in / f"{folder.name}.new"
        for old in (folder, staged):
            shutil.rmtree(old, ignore_errors=True)
        staged.mkdir()
        try:
            _run(source, staged, lock.fileno())
            (staged / _MADE_OF).write_text(json.dumps(origin | {"sha256": _digests(staged)}))
            staged.rename(folder)
        finally:
            shutil.rmtree(staged, ignore_errors=True)
    return folder


def _origin(source: Path) -> dict[str, Any]:
    """Return what the model is made of: if any of this changes, it is made again."""
    files = [source] if source.is_file() else sorted(file for file in source.iterdir() if file.is_file())
    stats = {file.name: [file.stat().st_size, file.stat().st_mtime_ns] for file in files}
    return {"rules": _RULES, "openvino": version("openvino"), "genai": version("openvino-genai"), "files": stats}


def _digests(folder: Path) -> dict[str, str]:
    found = {}
    for path in sorted(folder.iterdir()):
        if path.name != _MADE_OF and not path.is_symlink():
            with path.open("rb") as file:
                found[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def _is_whole(folder: Path, origin: dict[str, Any]) -> bool:
    try:
        record = json.loads((folder / _MADE_OF).read_bytes())
        return bool(record == origin | {"sha256": _digests(folder)})
    except (OSError, ValueError):
        return False


def _run(source: Path, target: Path, lock: int) -> None:
    """Run the process. It holds the lock too: if the server is killed, no other makes the same model before it ends."""
    nothing = subprocess.DEVNULL
    try:
        done = subprocess.run(
            children.command(__name__, str(source), str(target)),
            stdin=nothing,
            stdout=nothing,
            stderr=subprocess.PIPE,
            pass_fds=(lock,),
            timeout=LONGEST_S,
            check=False,
            **children.apart(),
        )
    except subprocess.TimeoutExpired:
        raise ValueError(f"its weights were not rewritten within {LONGEST_S} s") from None
    if done.returncode:
        reason = done.stderr.decode(errors="replace").strip().splitlines() or [f"exit status {done.returncode}"]
        raise ValueError(f"its weights cannot be rewritten: {reason[-1]}")


# -- the process -------------------------------------------------------------------------------------------------------


def _make(source: Path, target: Path) -> None:
    import openvino as ov

    from antiphon.engines.openvino.gguf_weights import ExactWeights
    from antiphon.engines.openvino.weights import to_int8

    saved = target / "saved"
    model = ov.Core().read_model((source if source.is_dir() else _saved(source, saved)) / _MODEL)
    done = to_int8(model) if source.is_dir() else to_int8(model, ExactWeights(source).exact)
    if not done:
        raise ValueError('it has no matrix that can be rewritten; set weights = "file"')
    ov.save_model(model, target / _MODEL, compress_to_fp16=False)
    del model  # it reads files that are deleted next
    for tokenizer in saved.glob("openvino_*tokenizer.*"):  # made from a GGUF file, it takes ten times as long to load
        tokenizer.rename(target / tokenizer.name)
    shutil.rmtree(saved, ignore_errors=True)
    if source.is_dir():
        for beside in source.iterdir():
            if beside.name not in (_MODEL, _WEIGHTS):
                (target / beside.name).symlink_to(beside)


def _saved(source: Path, folder: Path) -> Path:
    """Return what the pipeline makes of a GGUF file, as OpenVINO files. It writes them beside the file, so it gets a
    link.
    """
    import openvino_genai as genai

    folder.mkdir()
    link = folder / "model.gguf"
    link.symlink_to(source)
    scheduling = genai.SchedulerConfig()
    scheduling.cache_size = 1
    genai.ContinuousBatchingPipeline(link, scheduling, "CPU", {"enable_save_ov_model": True})
    genai.Tokenizer(link, enable_save_ov_model=True)
    return folder


def main() -> None:
    source, target = map(Path, sys.argv[1:])
    try:
        _make(source, target)
    except Exception as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
