"""What a server without speech and without engines of its own does not hold in memory."""

import subprocess
import sys

HEAVY = (
    "av",
    "fastapi",
    "google.protobuf",
    "grpc",
    "numpy",
    "onnxruntime",
    "openvino",
    "pydantic",
    "rich",
    "sqlalchemy",
    "typer",
)
ENGINES = ("antiphon.engines.openvino", "antiphon.engines.piper", "antiphon.engines.open_inference")


def test_the_house_is_built_from_light_rooms():
    asks = f"import sys, antiphon.server; print(*(name for name in {HEAVY + ENGINES} if name in sys.modules))"
    said = subprocess.run([sys.executable, "-c", asks], check=True, capture_output=True, text=True).stdout
    assert said.split() == []
