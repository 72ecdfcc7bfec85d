"""Triton, as nvidia-pytriton carries it, with a model that doubles numbers and repeats texts. Arguments: the HTTP, the
gRPC and the metrics port.
"""

import sys

import numpy as np
from pytriton.decorators import batch
from pytriton.model_config import ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig


@batch
def double(in0, in1):
    return {"out0": in0 * 2, "out1": in1}


def tensor(name, kind):
    return Tensor(name=name, dtype=kind, shape=(-1,))


if __name__ == "__main__":
    http, grpc, metrics = map(int, sys.argv[1:])
    here = dict.fromkeys(("http_address", "grpc_address", "metrics_address"), "127.0.0.1")
    config = TritonConfig(http_port=http, grpc_port=grpc, metrics_port=metrics, **here)
    with Triton(config=config, workspace="workspace") as triton:
        triton.bind(
            "double",
            double,
            inputs=[tensor("in0", np.float32), tensor("in1", bytes)],
            outputs=[tensor("out0", np.float32), tensor("out1", bytes)],
            config=ModelConfig(max_batch_size=8),
        )
        triton.serve()
