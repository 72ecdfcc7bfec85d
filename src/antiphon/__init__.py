"""Antiphon: a self-hosted, production inference API for speech and language.

Every process of the project imports this first, so what no library may do in any of them is settled here: ONNX Runtime
and OpenVINO would otherwise ask for hosts of their vendors, and write identifiers and events into the home directory.
"""

import os
import sys

__version__ = "0.1.0"

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # read once, when onnxruntime is imported
sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # its import fails, and OpenVINO goes on without
