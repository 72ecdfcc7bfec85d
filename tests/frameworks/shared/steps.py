"""Runs the steps of a framework's script one after the other, and prints what came of each as one JSON object."""

import asyncio
import inspect
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

STEP_S = 60


@dataclass(frozen=True, slots=True)
class Arguments:
    """What every script is called with: URL, key, and the path of a WAV file."""

    url: str
    key: str
    audio: str

    @property
    def openai_url(self) -> str:
        return f"{self.url}/v1"

    @property
    def ws_url(self) -> str:
        return self.url.replace("http", "ws", 1)


def arguments() -> Arguments:
    return Arguments(*sys.argv[1:4])


async def tell(*steps: Callable[[], Any]) -> None:
    """A step, plain or a coroutine function, returns what JSON can hold; one that raises is told as `{"error"}`."""
    told = {}
    for step in steps:
        try:
            told[step.__name__] = (
                await asyncio.wait_for(step(), STEP_S) if inspect.iscoroutinefunction(step) else step()
            )
        except Exception as error:
            told[step.__name__] = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(told), flush=True)
