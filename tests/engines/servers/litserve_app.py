"""SmolLM2 behind LitServe's OpenAI spec."""

import os
from collections.abc import Iterator
from typing import Any

import litserve
from smollm import SmolLM


class Chat(litserve.LitAPI):
    def setup(self, device: str) -> None:
        self.llm = SmolLM()

    def predict(self, prompt: list[dict[str, str]], context: dict[str, Any]) -> Iterator[dict[str, Any]]:
        messages = [{"role": message["role"], "content": message["content"]} for message in prompt]
        tokens = self.llm.read(messages)
        most = context["max_completion_tokens"] or 100
        count = 0
        for text in self.llm.write(tokens, most):
            count += 1
            yield {"role": "assistant", "content": text}
        # Said once, at the end: a stream's usage is its last piece's, a whole answer's the sum of them all.
        told = {"prompt_tokens": len(tokens), "completion_tokens": count, "total_tokens": len(tokens) + count}
        yield {"role": "assistant", "content": "", **told}

    def decode_request(self, request: Any) -> list[dict[str, str]]:
        return [message.model_dump() for message in request.messages]


if __name__ == "__main__":
    server = litserve.LitServer(Chat(spec=litserve.OpenAISpec()), accelerator="cpu", timeout=300)
    server.run(host="127.0.0.1", port=int(os.environ["PORT"]), generate_client_file=False)
