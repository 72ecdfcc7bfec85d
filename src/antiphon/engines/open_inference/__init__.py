"""Tensor models behind any server with the Open Inference Protocol v2, over HTTP or gRPC."""

from antiphon.engines.open_inference.grpc import OpenInferenceGrpc as OpenInferenceGrpc
from antiphon.engines.open_inference.http import OpenInferenceHttp as OpenInferenceHttp
from antiphon.engines.open_inference.limits import Limits as Limits
