"""The pipeline's process: commands in, one report per step out.

Choices of one request differ only in their seeds. The first is started alone; the others follow when its prompt has
been computed, so that they find it in the prefix cache. Requests whose grammar is new wait for its compilation, beside
the steps of the others.

No text of a caller may leave through an exception or a log: a failing step ends the process.
"""

import os
import select
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openvino_genai as genai

from antiphon.engines.openvino.converted import converted
from antiphon.engines.openvino.gguf import context_tokens, model_path
from antiphon.engines.openvino.grammars import Grammars
from antiphon.engines.openvino.messages import (
    BLOCK_TOKENS,
    LENGTH,
    OUT_OF_MEMORY,
    STOP,
    Begun,
    Cancel,
    Chunk,
    Command,
    Generate,
    Load,
    Model,
    OpenVinoSettings,
    Ready,
    Refused,
    Stepped,
    Why,
    command_decoder,
)
from antiphon.engines.openvino.prefixes import Prefixes
from antiphon.engines.openvino.vocabulary import vocabulary
from antiphon.engines.process import Unloadable, beating
from antiphon.engines.worker import Link, reason, run

_ENDS = {"STOP": STOP, "LENGTH": LENGTH}
_REJECTIONS = (RuntimeError, ValueError, TypeError, OverflowError)  # of the pipeline's, of one request


class Running:
    """One choice in the pipeline."""

    __slots__ = ("choice", "fresh", "handle", "request", "scored", "tokens")

    def __init__(self, request: Generate, choice: int, tokens: list[int], handle: Any) -> None:
        self.request = request
        self.choice = choice
        self.tokens = tokens  # of the prompt and the output
        self.fresh = True  # no output yet
        self.handle = handle
        self.scored = "logprobs" in request.sampling


class Pipeline:
    """The vendor's pipeline and what runs in it. `wake` is called from another thread when `compiled` has work."""

    def __init__(self, load: Load, wake: Callable[[], object]) -> None:
        self._settings = settings = load.settings
        path = model_path(Path(load.path))
        self._pipeline = _opened(path, load)
        self._tokenizer = self._pipeline.get_tokenizer()
        defaults = self._pipeline.get_config()
        self._running: list[Running] = []
        self._followers: dict[int, tuple[Generate, Any]] = {}  # by number: choices that wait for the first one's prompt
        self._awaiting: dict[str, list[tuple[Generate, Any]]] = {}  # by grammar, in the order of their compilation
        self._next_id = 0
        self._begun: list[Begun] = []
        self._refused: list[Refused] = []
        template = self._tokenizer.chat_template
        table = vocabulary(self._tokenizer)
        self.model = Model(
            table,
            min(self._longest(context_tokens(path)), self._warm_up()),
            max(map(len, table)),
            "tools" in template and "<tool_call>" in template,
            _chosen(settings.temperature, defaults.temperature if defaults.do_sample else None),
            _chosen(settings.top_p, defaults.top_p if defaults.do_sample else None),
            settings.frequency_penalty,
        )
        self._grammars = Grammars(self._tokenizer, len(self.model.vocabulary), wake)

    def _warm_up(self) -> int:
        """Run a first step, which allocates and compiles. Returns how many tokens the cache holds."""
        config = genai.GenerationConfig(max_new_tokens=1)
        self._guess(config)
        handle = self._pipeline.add_request(0, "a", config)
        self._next_id = 1
        self._pipeline.step()
        blocks: int = round(100 / self._pipeline.get_metrics().cache_usage)  # one of them was used
        del handle
        self._prefixes = Prefixes(blocks if self._settings.prefix_caching else 0)
        return blocks * BLOCK_TOKENS

    def _longest(self, context: int) -> int:
        """Return the longest text, in tokens. The tokenizer silently truncates at a length of its own, so a text that
        long may be truncated.
        """
        cut: int = self._tokenizer.encode(" a" * (context + 1)).input_ids.get_size()
        whole = context if self._settings.split_fuse else self._settings.max_batched_tokens
        return min(context, cut, whole)

    @property
    def idle(self) -> bool:
        return not self._running

    @property
    def overgrown(self) -> bool:
        """Whether nothing is asked of it, and grammars take more memory than they may."""
        used = self._grammars.memory_bytes > self._settings.grammars_mb << 20
        return used and not self._running and not self._awaiting

    def generate(self, request: Generate) -> None:
        """Start a request or refuse it, or let it wait for its grammar."""
        try:
            tokens = self._tokens(request)
        except _REJECTIONS:
            self._refused.append(Refused(request.number, Why.REJECTED))
            return
        count = tokens.get_size()
        if not count:
            self._refused.append(Refused(request.number, Why.EMPTY))
        elif count >= self.model.context_tokens:
            self._refused.append(Refused(request.number, Why.TOO_LONG, count))
        elif not request.grammar or self._grammars.compiled(request.grammar):
            self._start(request, tokens)
        else:
            self._awaiting.setdefault(request.grammar, []).append((request, tokens))
            self.compiled()

    def compiled(self) -> bool:
        """Start the requests whose grammar has been compiled, or refuse them, and have the next one compiled. Returns
        whether a compilation has ended.
        """
        result = self._grammars.result()
        if result:
            grammar, compiles = result
            for request, tokens in self._awaiting.pop(grammar, ()):
                if compiles:
                    self._start(request, tokens)
                else:
                    self._refused.append(Refused(request.number, Why.GRAMMAR))
        if self._awaiting and not self._grammars.busy:
            self._grammars.compile(next(iter(self._awaiting)))
        return result is not None

    def _start(self, request: Generate, tokens: Any) -> None:
        """Start a request or refuse it: if the pipeline rejects one, the others must not fail."""
        cached = self._prefixes.cached(tokens.data[0].tolist())
        try:
            self._add(request, 0, tokens)
        except _REJECTIONS:
            self._refused.append(Refused(request.number, Why.REJECTED))
            return
        self._begun.append(Begun(request.number, tokens.get_size(), cached))
        if len(request.seeds) > 1:
            self._followers[request.number] = (request, tokens)

    def _tokens(self, request: Generate) -> Any:
        """Return the prompt's tokens, a tensor. A template adds the tokens that begin a text itself."""
        prompt, raw = request.prompt, isinstance(request.prompt, str)
        if not raw:
            tools = request.tools if self.model.knows_tools and request.tools else None
            arguments = request.template_arguments or None
            prompt = self._tokenizer.apply_chat_template(prompt, True, tools=tools, extra_context=arguments)
        return self._tokenizer.encode(prompt, add_special_tokens=raw).input_ids

    def _add(self, request: Generate, choice: int, tokens: Any) -> None:
        room = self.model.context_tokens - tokens.get_size()
        config = genai.GenerationConfig(**request.sampling)
        config.max_new_tokens = min(request.max_tokens, room)
        config.rng_seed = request.seeds[choice]
        if request.grammar:
            config.structured_output_config = genai.StructuredOutputConfig(structural_tags_config=request.grammar)
        self._guess(config)
        handle = self._pipeline.add_request(self._next_id, tokens, config)
        self._next_id += 1
        self._running.append(Running(request, choice, tokens.data[0].tolist(), handle))

    def _guess(self, config: genai.GenerationConfig) -> None:
        if self._settings.prompt_lookup_tokens:
            config.num_assistant_tokens = self._settings.prompt_lookup_tokens
            config.max_ngram_size = self._settings.prompt_lookup_ngram

    def cancel(self, command: Cancel) -> None:
        if command.choice is None:
            self._followers.pop(command.number, None)
            self._forget(command.number)
        left = []
        for running in self._running:
            if running.request.number == command.number and command.choice in (None, running.choice):
                running.handle.cancel()
                if not running.fresh:
                    self._prefixes.remember(running.tokens[:-1])
            else:
                left.append(running)
        self._running = left

    def _forget(self, number: int) -> None:
        """Drop a request that waits for its grammar."""
        for grammar, waiting in [*self._awaiting.items()]:
            left = [one for one in waiting if one[0].number != number]
            if left:
                self._awaiting[grammar] = left
            else:
                del self._awaiting[grammar]

    def step(self) -> None:
        self._pipeline.step()

    def report(self) -> Stepped:
        """Return the results since the last call."""
        chunks = list(self._chunks())
        if not self._running:
            while self._pipeline.has_non_finished_requests():
                self._pipeline.step()  # cancelled requests leave with the next step
            self._pipeline.step()  # so that the figures show nothing in use
        metrics = self._pipeline.get_metrics()
        report = Stepped(self._begun, self._refused, chunks, metrics.cache_size_in_bytes, metrics.cache_usage / 100)
        self._begun, self._refused = [], []
        return report

    def _chunks(self) -> Iterator[Chunk]:
        ended = False
        for running in self._running.copy():
            handle, request = running.handle, running.request
            if handle.can_read():
                (output,) = handle.read().values()
                if running.fresh:
                    self._prefixes.remember(running.tokens)
                    running.fresh = False
                running.tokens += output.generated_ids
                end = _ENDS.get(output.finish_reason.name, "")
                logprobs = output.generated_log_probs if running.scored else None
                yield Chunk(request.number, running.choice, output.generated_ids, logprobs, end)
                if running.choice == 0 and request.number in self._followers:
                    self._follow(*self._followers.pop(request.number))
            elif handle.get_status() == genai.GenerationStatus.IGNORED:
                end = OUT_OF_MEMORY
                yield Chunk(request.number, running.choice, [], None, end)
            else:
                continue
            if end:
                if not running.fresh:
                    self._prefixes.remember(running.tokens[:-1])  # the last was not computed: nothing followed it
                running.handle = None
                ended = True
        if ended:
            self._running = [running for running in self._running if running.handle is not None]

    def _follow(self, request: Generate, tokens: Any) -> None:
        for choice in range(1, len(request.seeds)):
            self._add(request, choice, tokens)


def _opened(path: Path, load: Load) -> genai.ContinuousBatchingPipeline:
    scheduling, properties = _scheduling(load.settings), _properties(load.settings)
    if load.settings.weights == "file":
        return genai.ContinuousBatchingPipeline(path, scheduling, "CPU", properties)
    folder = converted(path, Path(load.kept_in))
    return genai.ContinuousBatchingPipeline(folder, genai.Tokenizer(folder), scheduling, "CPU", **properties)


def _chosen(setting: float | None, advice: float | None) -> float | None:
    return advice if setting is None else setting


def _scheduling(settings: OpenVinoSettings) -> genai.SchedulerConfig:
    config = genai.SchedulerConfig()
    config.cache_size = settings.kv_cache_gb
    config.enable_prefix_caching = settings.prefix_caching
    config.max_num_batched_tokens = settings.max_batched_tokens
    config.max_num_seqs = settings.max_sequences
    config.dynamic_split_fuse = settings.split_fuse
    if settings.eviction_tokens:
        kept = BLOCK_TOKENS  # from the beginning, which every token attends to
        recent = settings.eviction_tokens // 2 // BLOCK_TOKENS * BLOCK_TOKENS
        config.use_cache_eviction = True
        config.cache_eviction_config = genai.CacheEvictionConfig(
            kept, recent, settings.eviction_tokens, genai.AggregationMode.NORM_SUM, snapkv_window_size=0
        )
    return config


def _properties(settings: OpenVinoSettings) -> dict[str, Any]:
    properties: dict[str, Any] = {"KV_CACHE_PRECISION": settings.kv_cache_precision}
    if settings.prompt_lookup_tokens:
        properties["prompt_lookup"] = True
    if settings.threads:
        properties["INFERENCE_NUM_THREADS"] = settings.threads
    return properties


# -- the process -------------------------------------------------------------------------------------------------------


class PipelineLink(Link[Command]):
    """The pipeline's end of the socket. `wake` may be called from other threads."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock, command_decoder.decode)
        self._woken, self._waking = os.pipe()

    def wake(self) -> None:
        """End a wait."""
        os.write(self._waking, b"\0")

    def waiting(self, wait: bool) -> Iterator[Command]:
        """Yield the commands that have come between two steps; with `wait`, wait for one, or until woken. Raises
        `EOFError` if the server is gone.
        """
        both: list[Any] = [self.socket, self._woken]
        while ready := select.select(both, [], [], None if wait else 0)[0]:
            if self._woken in ready:
                os.read(self._woken, 1)
                wait = False
            if self.socket in ready:
                data = self.socket.recv(1 << 20)
                if not data:
                    raise EOFError
                for command in self.decoded(data):
                    wait = False
                    yield command


def serve(sock: socket.socket) -> None:
    """Serve until the server is gone, then raise `EOFError`; return when a new process should go on."""
    link = PipelineLink(sock)
    load = next(iter(link.waiting(wait=True)))
    assert isinstance(load, Load)
    try:
        with beating(link.beat):
            pipeline = Pipeline(load, link.wake)
    except Exception as error:
        link.send(Unloadable(reason(error)))
        return
    link.send(Ready(pipeline.model))
    link.send(pipeline.report())
    while not pipeline.overgrown:
        has_command = False
        for command in link.waiting(wait=pipeline.idle):
            has_command = True
            if isinstance(command, Generate):
                pipeline.generate(command)
            elif isinstance(command, Cancel):
                pipeline.cancel(command)
        if pipeline.compiled() or has_command:
            link.send(pipeline.report())  # admitted requests need not wait for the step to know it
        if not pipeline.idle:
            pipeline.step()
            link.send(pipeline.report())


if __name__ == "__main__":
    run(serve)
