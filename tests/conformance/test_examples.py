"""Every example, run as its docstring says."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

# Which are served, not run (tests/unit/transports/test_plain_vendor.py), or need a server that speaks gRPC
# (tests/conformance/google) or TLS (test_amazon_sdk.py), or are about the audit log
# (tests/unit/trust/test_tampering.py, test_notary.py), or run a server of their own
# (tests/faults/test_zero_retention.py).
ELSEWHERE = (
    "plain_vendor",
    "google_live",
    "google_batch",
    "amazon_live",
    "verify_audit",
    "audit_witness",
    "zero_retention",
)
EXAMPLES = [
    path for path in sorted((Path(__file__).parents[2] / "examples").glob("*.py")) if path.stem not in ELSEWHERE
]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_example(example: Path, server: Any, ever_tried: Path) -> None:
    environment = {**os.environ, "ANTIPHON_URL": server.base_url, "ANTIPHON_API_KEY": server.api_key}
    done = subprocess.run(
        [sys.executable, str(example), str(ever_tried)], env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert "ever tried" in done.stdout.lower()
