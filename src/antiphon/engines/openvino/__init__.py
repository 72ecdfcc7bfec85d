"""A language model on this machine, by OpenVINO GenAI's continuous batching.

The pipeline holds Python's lock for the whole of a step, so it runs in a process of its own (`worker`). The server's
side (`generator`) starts it, exchanges messages with it over one socket (`messages`), and restarts it when it dies.
"""

from antiphon.engines.openvino.generator import OpenVinoGenerator, OpenVinoStats
from antiphon.engines.openvino.messages import OpenVinoSettings

__all__ = ["OpenVinoGenerator", "OpenVinoSettings", "OpenVinoStats"]
