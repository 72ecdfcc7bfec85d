"""SmolLM2 behind Ray Serve LLM: vLLM in a replica, Ray's ingress in front of it."""

import os
import time

import ray
from ray import serve
from ray.serve.llm import LLMConfig, build_openai_app

if __name__ == "__main__":
    ray.init(num_cpus=4, include_dashboard=False, logging_level="warning", _node_ip_address="127.0.0.1")
    serve.start(http_options={"host": "127.0.0.1", "port": int(os.environ["PORT"])})
    model = LLMConfig(
        model_loading_config={"model_id": "smollm2", "model_source": os.environ["MODEL"]},
        engine_kwargs={"max_model_len": 2048, "enforce_eager": True, "enable_prompt_tokens_details": True},
        placement_group_config={"bundles": [{"CPU": 1}]},
        deployment_config={"num_replicas": 1},
        runtime_env={"env_vars": {"VLLM_CPU_KVCACHE_SPACE": "1"}},
    )
    serve.run(build_openai_app({"llm_configs": [model]}))
    while True:
        time.sleep(60)
