"""`antiphon chat`: talk with a language model in the terminal, by OpenAI's protocol, against any server that supports
it.

A prompt as an argument, or piped in, is answered once, and only the answer goes to standard output. Otherwise there is
a loop: Ctrl-C stops the current answer (the conversation keeps its beginning), Ctrl-D leaves. A model's output is not
trusted: control characters do not reach a terminal.
"""

import asyncio
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated

import aiohttp
import msgspec
import typer

from antiphon.bench import completions
from antiphon.bench.completions import DONE, EventLines, Usage
from antiphon.cli.options import DEFAULT_MODEL, DEFAULT_URL
from antiphon.core.errors import AntiphonError, CallerError, EngineError

CONNECT_TIMEOUT_S = 10
SILENCE_TIMEOUT_S = 600
PROMPT = "> "

app = typer.Typer(add_completion=False)


@app.command()
def chat(
    prompt: Annotated[
        str | None, typer.Argument(help="A prompt to answer once; without it, a conversation starts.")
    ] = None,
    url: Annotated[str, typer.Option(help="The server's origin, or a base that ends in /v1.")] = DEFAULT_URL,
    api_key: Annotated[str, typer.Option(envvar="ANTIPHON_API_KEY", help="The key to call with.")] = "",
    model: Annotated[str, typer.Option(help="The model to ask for.")] = DEFAULT_MODEL,
    system: Annotated[str, typer.Option(help="Instructions for the model (system prompt).")] = "",
    temperature: Annotated[
        float | None, typer.Option(min=0, max=2, help="Sampling temperature; the model's default if left out.")
    ] = None,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="Maximum length of an answer, in tokens.")] = None,
    verbose: Annotated[bool, typer.Option("--verbose", help="Show the tokens and times of each answer.")] = False,
) -> None:
    """Talk with a language model of a running server."""
    conversation = Conversation(url, api_key, model, temperature, max_tokens, verbose)
    if system:
        conversation.messages.append({"role": "system", "content": system})
    if prompt is None and not sys.stdin.isatty():
        prompt = sys.stdin.read()
    if prompt is None:
        converse(conversation)
    elif not prompt.strip():
        raise CallerError("the prompt is empty")
    else:
        try:
            with asyncio.Runner() as runner:
                runner.run(conversation.ask(prompt))
        except KeyboardInterrupt:
            raise typer.Exit(130) from None


def converse(conversation: "Conversation", read: Callable[[str], str] = input) -> None:
    """Read prompts and print answers until the input ends. A failed call is reported, and left out of the
    conversation.
    """
    import readline  # noqa: F401  gives `input` a history and keys to edit with

    with asyncio.Runner() as runner:
        while True:
            try:
                prompt = read(PROMPT)
            except EOFError:
                print()
                return
            except KeyboardInterrupt:
                print()
                continue
            if not prompt.strip():
                continue
            try:
                runner.run(conversation.ask(prompt))
            except KeyboardInterrupt:
                print()
            except AntiphonError as error:
                print(f"antiphon: {error.message}", file=sys.stderr)


@dataclass(slots=True)
class Conversation:
    """A conversation so far, and its server."""

    url: str
    api_key: str
    model: str
    temperature: float | None
    max_tokens: int | None
    verbose: bool
    messages: list[dict[str, object]] = field(default_factory=list)

    async def ask(self, prompt: str) -> None:
        """Print the answer while it comes. Prompt and answer join the conversation, unless the answer is empty.

        Raises `CallerError`, `CapacityError` or `EngineError`.
        """
        message: dict[str, object] = {"role": "user", "content": prompt}
        messages = [*self.messages, message]
        body = completions.body(
            self.model, messages, stream=True, max_tokens=self.max_tokens, temperature=self.temperature
        )
        answer = _Answer()
        try:
            await self._stream(body, answer)
        finally:
            if answer.text:
                self.messages[:] = [*messages, {"role": "assistant", "content": answer.text}]
        print()
        if self.verbose:
            print(answer.summary(), file=sys.stderr)

    async def _stream(self, body: dict[str, object], answer: "_Answer") -> None:
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S, sock_read=SILENCE_TIMEOUT_S)
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self.api_key}"}
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as http,
                http.post(completions.endpoint(self.url), data=msgspec.json.encode(body), headers=headers) as response,
            ):
                if response.status != 200:
                    raise completions.refused(response.status, await response.read())
                events = EventLines()
                async for data in response.content.iter_any():
                    for event in events.feed(data):
                        answer.take(event)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise EngineError(f"no answer from {self.url}: {error or type(error).__name__}") from error
        if not answer.ended:
            raise EngineError("the answer was interrupted")


class _Answer:
    """One answer, printed while it comes."""

    def __init__(self) -> None:
        self.text = ""
        self.ended = False
        self._usage: Usage | None = None
        self._deltas = 0
        self._start_s = self._last_s = time.monotonic()
        self._first_s: float | None = None

    def take(self, event: bytes) -> None:
        """Print an event of the answer. Raises `EngineError`."""
        if event == DONE:
            return
        try:
            chunk = completions.decode(event)
        except msgspec.MsgspecError as error:
            raise EngineError(f"the answer is not OpenAI's: {error}") from error
        if chunk.error:
            raise EngineError(completions.reason(bytes(chunk.error)))
        self._usage = chunk.usage or self._usage
        for choice in chunk.choices:
            self.ended = self.ended or choice.finish_reason is not None
            if choice.delta is None or not choice.delta.holds_tokens:
                continue
            self._last_s = time.monotonic()
            self._first_s = self._first_s or self._last_s
            self._deltas += 1
            self._print(choice.delta.content or "")

    def _print(self, text: str) -> None:
        self.text += text
        print(harmless(text) if sys.stdout.isatty() else text, end="", flush=True)

    def summary(self) -> str:
        """Return a summary; tokens are the server's count, or the number of deltas."""
        tokens = self._usage.completion_tokens if self._usage else self._deltas
        read = f"{self._usage.prompt_tokens} tokens read, " if self._usage else ""
        first_s = self._last_s if self._first_s is None else self._first_s
        summary = f"{read}{tokens} written; TTFT {(first_s - self._start_s) * 1000:.0f} ms"
        if tokens > 1 and self._last_s > first_s:
            summary += f", {(tokens - 1) / (self._last_s - first_s):.1f} tokens/s after it"
        return summary


def harmless(text: str) -> str:
    """Return the text without a terminal's control characters; line breaks and tabs stay."""
    return "".join(char for char in text if char.isprintable() or char in "\n\t")
