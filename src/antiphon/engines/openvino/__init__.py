"""A language model on this machine, by OpenVINO GenAI's continuous batching.

The pipeline holds Python's lock for the whole of a step, so it lives in a process of its own (`worker`), which the
server's side (`generator`) starts, speaks to by messages over one socket (`messages`), and starts again when it dies.
"""

from antiphon.engines.openvino.generator import OpenVinoGenerator, OpenVinoStats
from antiphon.engines.openvino.messages import OpenVinoSettings

__all__ = ["OpenVinoGenerator", "OpenVinoSettings", "OpenVinoStats"]
