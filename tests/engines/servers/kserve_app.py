"""SmolLM2 in KServe's Python runtime, behind its OpenAI endpoints: the model is ours, the server is KServe's."""

import asyncio
import os
import time
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import uvicorn
from kserve import ModelServer
from kserve.protocol.rest.openai import OpenAIGenerativeModel
from kserve.protocol.rest.openai.errors import create_error_response
from kserve.protocol.rest.openai.types import (
    ChatCompletion,
    ChatCompletionChunk,
    ChatCompletionRequest,
    ChatMessage,
    ChoiceDelta,
    ErrorResponse,
    UsageInfo,
)
from smollm import SmolLM

REASONS = {False: "stop", True: "length"}


class Chat(OpenAIGenerativeModel):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__("smollm2")
        self.llm = SmolLM()

    async def create_completion(self, *arguments: Any, **named: Any) -> ErrorResponse:
        return create_error_response("This model chats.")

    async def create_chat_completion(
        self, request: ChatCompletionRequest, raw_request: Any = None, context: Any = None
    ) -> AsyncGenerator[str, None] | ChatCompletion | ErrorResponse:
        if request.temperature is not None and request.temperature < 0:
            return create_error_response("A temperature is not negative.", param="temperature")
        tokens = self.llm.read([{"role": m["role"], "content": m["content"]} for m in request.messages])
        most = request.max_completion_tokens or 100
        head = {"id": "chatcmpl-kserve", "created": int(time.time()), "model": self.name}
        if request.stream:
            return self.stream(head, tokens, most)
        pieces = [piece async for piece in self.pieces(tokens, most)]
        reason = REASONS[len(pieces) == most]
        message = ChatMessage(role="assistant", content="".join(pieces))
        choice = {"index": 0, "message": message, "finish_reason": reason}
        return ChatCompletion(**head, choices=[choice], usage=usage(len(tokens), len(pieces)))

    async def stream(self, head: dict[str, Any], tokens: list[int], most: int) -> AsyncGenerator[str, None]:
        count = 0
        async for piece in self.pieces(tokens, most):
            count += 1
            choice = {"index": 0, "delta": ChoiceDelta(content=piece), "finish_reason": None}
            yield event(ChatCompletionChunk(**head, choices=[choice], usage=usage(len(tokens), count)))
        ended = {"index": 0, "delta": ChoiceDelta(), "finish_reason": REASONS[count == most]}
        yield event(ChatCompletionChunk(**head, choices=[ended]))
        yield event(ChatCompletionChunk(**head, choices=[], usage=usage(len(tokens), count)))
        yield "data: [DONE]\n\n"

    async def pieces(self, tokens: list[int], most: int) -> AsyncIterator[str]:
        writing = self.llm.write(tokens, most)
        while (piece := await asyncio.to_thread(next, writing, None)) is not None:
            yield piece


def usage(read: int, written: int) -> UsageInfo:
    return UsageInfo(prompt_tokens=read, completion_tokens=written, total_tokens=read + written)


def event(chunk: ChatCompletionChunk) -> str:
    return f"data: {chunk.model_dump_json(exclude_unset=True)}\n\n"


class OnLoopback(uvicorn.Config):
    """KServe listens on every address, and has no option for it."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **(named | {"host": "127.0.0.1"}))


if __name__ == "__main__":
    uvicorn.Config = OnLoopback  # type: ignore[misc]
    ModelServer(http_port=int(os.environ["PORT"]), enable_grpc=False, workers=1).start([Chat()])
