"""SmolLM2 behind BentoML, in the way of BentoML's own examples of vLLM: a service that is vLLM's server."""

import os

import bentoml

BEHIND = os.environ["BEHIND"]  # the port of vLLM's own server, which BentoML forwards to


@bentoml.service(name="smollm2", traffic={"timeout": 300}, http={"proxy_port": int(BEHIND)})
class LLM:
    def __command__(self) -> list[str]:
        where = ["--host", "127.0.0.1", "--port", BEHIND, "--served-model-name", "smollm2"]
        counts = ["--max-model-len", "2048", "--enable-prompt-tokens-details", "--enforce-eager"]
        return [os.environ["VLLM"], "serve", os.environ["MODEL"], *where, *counts]
