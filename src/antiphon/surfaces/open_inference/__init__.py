"""The Open Inference Protocol v2 over HTTP, with its binary tensor data extension: models of tensors of any kind."""
