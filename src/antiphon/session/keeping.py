"""Kept answers: who may keep them, which calls continue them, and generations in the background.

The project's policy decides, for every call: for a project that keeps nothing, nothing is written or shown. A
generation in the background is like any other, within the same bounds, but its caller has left: it ends by itself, is
cancelled by its id, or fails with the server. Only this process runs generations, so an answer that is kept as
unfinished and does not run here was interrupted.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import ceil
from typing import Any

from antiphon.calls.generation import Generation, Keeping
from antiphon.calls.relay import relay
from antiphon.core.endpoints import AnswerRequest, AnswerSurface, Referring
from antiphon.core.errors import AntiphonError, CallerError, Cancelled, InternalError, NotFound, TooLarge
from antiphon.core.events import LanguageOutput
from antiphon.core.identity import Principal
from antiphon.core.ports import Clock
from antiphon.core.sealing import PLAIN, Sealer
from antiphon.core.specs import GenerateSpec, Message, Role, SpeakSpec, Spec, messages_bytes
from antiphon.core.stores import Answers, StorageFull
from antiphon.core.tags import SUBJECT, value_of
from antiphon.core.units import NS_PER_S
from antiphon.core.wire import Close, Keep, Step, Wire
from antiphon.session.recent import Recent, Recents

PURGE_S = 30.0
FULL_NS = 60 * NS_PER_S  # after an answer found no room, until another is tried
LONGEST_ANSWER_NS = 24 * 3600 * NS_PER_S  # no answer takes so long
MAX_MESSAGES = 8192  # of a conversation, with its earlier turns
MAX_CONVERSATION_BYTES = 64 << 20  # of the same
MAX_REFERRED_BYTES = 32 << 20  # of all stored answers that one request refers to

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Run:
    generation: Generation
    task: asyncio.Task[None]


class _Background:
    """A generation that runs apart from its caller; `messages` is set to the first of its messages."""

    region = ""  # whoever reads the answer later is told nothing of it

    def __init__(
        self,
        runs: dict[tuple[str, str], _Run],
        generation: Generation,
        surface: AnswerSurface[Any],
        messages: "asyncio.Future[tuple[Wire, ...]]",
    ) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.events = generation.events
        self.fail = generation.fail
        self._runs = runs
        self._run = _Run(generation, task)
        self._surface = surface
        self._messages = messages
        self._key: tuple[str, str] | None = None

    async def keep(self, keep: Keep) -> None:
        self._key = self._run.generation.call.principal.project, keep.id
        self._runs[self._key] = self._run
        try:
            await self._run.generation.keep(keep)
        except AntiphonError as error:
            if not self._messages.done():
                self._messages.set_exception(error)
            raise

    def emit(self, event: LanguageOutput, now_ns: int) -> Step:
        """Translate an event, without the close: the end of the answer to the caller does not end the run."""
        return replace(self._surface.emit(event, now_ns), close=None)

    async def send(self, sends: Sequence[Wire], close: Close | None) -> None:
        if not self._messages.done():
            self._messages.set_result(tuple(sends))

    def over(self) -> None:
        if self._key is not None:
            del self._runs[self._key]


class Keeper:
    """All kept answers, and those that are made in the background. `keep_s` is each project's policy, 0 for none;
    `expired` is told how many came to their end, by project.
    """

    def __init__(
        self,
        store: Answers,
        keep_s: Callable[[str], int],
        clock: Clock,
        expired: Callable[[Mapping[str, int]], None] = lambda wiped: None,
        sealer: Sealer = PLAIN,
    ) -> None:
        self._store = store
        self._sealer = sealer
        self._erased_ns: dict[tuple[str, str], int] = {}  # when each project or subject was erased
        self._full: dict[str, tuple[int, str]] = {}  # when there was no room for a project's last answer, and why
        self._expired = expired
        self._keep_s = keep_s
        self._clock = clock
        self.recents = Recents()
        self._runs: dict[tuple[str, str], _Run] = {}

    async def resolve(
        self,
        principal: Principal,
        request: AnswerRequest | Referring,
        count: Callable[[int], None],
        recent: Recent | None = None,
    ) -> AnswerRequest:
        """Return the request, with the parts of earlier answers that it refers to. `count` is told how many bytes of
        those are in memory, and may refuse them. `recent` are those of the same connection, if it remembers them.

        Raises as `Referring.resolve` and `count` do, `TooLarge`, and `InternalError`.
        """
        if isinstance(request, AnswerRequest):
            return request
        begun_ns, size = self._clock.now_ns(), 0
        bodies, subjects = dict[str, bytes](), dict[str, None]()
        for id in request.answers:
            try:
                keep = await self._get(principal, id, recent)
            except NotFound:
                continue
            size += len(keep.body)
            if size > MAX_REFERRED_BYTES:
                message = (
                    f"The stored responses that a request refers to have at most {MAX_REFERRED_BYTES} bytes together."
                )
                raise TooLarge(message, param="prompt")
            count(len(keep.body))
            bodies[keep.id] = keep.body
            subjects |= dict.fromkeys(keep.subjects)
        request = await asyncio.to_thread(request.resolve, bodies)
        if self.erased_since(principal.project, tuple(subjects), begun_ns):
            raise NotFound("Stored answer not found.")
        return replace(request, subjects=tuple(subjects))

    async def begin(
        self,
        principal: Principal,
        request: AnswerRequest,
        count: Callable[[int], None],
        recent: Recent | None = None,
        tags: tuple[str, ...] = (),
    ) -> tuple[Spec | SpeakSpec, Keeping | None]:
        """Return the spec with its earlier turns, and how its answer is kept, if it is. `count` is told how many bytes
        those turns have, and may refuse them. `recent` are the answers of the same connection, if it remembers them
        whatever the policy is. The `tags` of the call, or of its spec, may name the person whom the answer is about; it
        is also about those of its earlier turns.

        Raises `CallerError` for what the policy does not allow, for an unknown previous answer, and for a conversation
        that is too long; `StorageFull`; and as `count` does.
        """
        begun_ns, allowed = self._clock.now_ns(), self._keep_s(principal.project) > 0
        if request.keep and not allowed:
            raise CallerError("This project's policy does not allow storing answers.", param="keep")
        keep = allowed if request.keep is None else request.keep
        if request.background and not keep:
            raise CallerError("A background response must be stored.", param="background")
        if keep:
            self._check_room(principal.project)
        earlier = await self._before(principal, request.previous, recent) if request.previous else None
        before, spec = earlier.conversation if earlier else (), request.spec
        if before and isinstance(spec, GenerateSpec) and not isinstance(spec.prompt, str):
            prompt = spec.prompt[: request.lead] + before + spec.prompt[request.lead :]
            if len(prompt) > MAX_MESSAGES:
                raise CallerError(f"A conversation has at most {MAX_MESSAGES} messages.", param="prompt")
            if messages_bytes(prompt) > MAX_CONVERSATION_BYTES:
                raise TooLarge(f"A conversation has at most {MAX_CONVERSATION_BYTES} bytes.", param="prompt")
            count(messages_bytes(before))
            called = {call.id for message in prompt for call in message.tool_calls}
            if any(message.role is Role.TOOL and message.tool_call_id not in called for message in prompt):
                raise CallerError("No tool call found for a tool's output.", param="prompt")
            spec = replace(spec, prompt=prompt)
        remember: Callable[[Keep], None] | None = None
        if recent is not None:
            remember = partial(recent.put, passing=request.keep is False)
        elif request.keep is None and not keep:
            remember = partial(self.recents.remember, principal)
        if not keep and remember is None:
            return spec, None
        known = (*request.subjects, *(earlier.subjects if earlier else ()))
        subjects = await self._subjects(principal.project, (*tags, *spec.tags), known)
        return spec, Keeping(partial(self._put, principal.project, before, keep, remember, subjects, begun_ns), keep)

    def _check_room(self, project: str) -> None:
        """Check that the project's last answer could be stored: if not, the next one would be charged, and lost. Raises
        `StorageFull`.
        """
        at_ns, reason = self._full.get(project, (0, ""))
        left_ns = at_ns + FULL_NS - self._clock.now_ns()
        if reason and left_ns > 0:
            raise StorageFull(reason, retry_after_s=ceil(left_ns / NS_PER_S))

    async def _subjects(self, project: str, tags: tuple[str, ...], known: tuple[str, ...]) -> tuple[str, ...]:
        """Return the pseudonyms of the people whom an answer is about, with those of earlier ones."""
        named = value_of(tags, SUBJECT)
        own = (await asyncio.to_thread(self._sealer.pseudonym, project, named),) if named else ()
        return tuple(dict.fromkeys((*known, *own)))

    async def _get(self, principal: Principal, id: str, recent: Recent | None) -> Keep:
        """Return an earlier answer. Raises `NotFound`, `InternalError`."""
        project = principal.project
        found = recent.get(id) if recent is not None else self.recents.find(principal.key_id, id)
        return found or await self._store.get(project, id, self._keep_s(project))

    async def _before(self, principal: Principal, id: str, recent: Recent | None) -> Keep:
        try:
            earlier = await self._get(principal, id, recent)
        except NotFound as error:
            raise CallerError(error.message, param="previous") from None
        if not earlier.conversation:
            raise CallerError("The previous response was not completed, so it cannot be continued.", param="previous")
        return earlier

    async def _put(
        self,
        project: str,
        before: tuple[Message, ...],
        stored: bool,
        remember: Callable[[Keep], None] | None,
        subjects: tuple[str, ...],
        begun_ns: int,
        keep: Keep,
    ) -> None:
        if self.erased_since(project, subjects, begun_ns):
            return
        keep_s = self._keep_s(project)
        keep = replace(keep, subjects=subjects)
        if keep.conversation:
            keep = replace(keep, conversation=before + keep.conversation)
        if remember is not None:
            remember(keep)
        if stored and keep_s:  # the policy may have changed since the answer began
            try:
                await self._store.put(project, keep, keep_s)
            except StorageFull as error:
                self._full[project] = self._clock.now_ns(), error.message
                raise
            self._full.pop(project, None)

    def erased_since(self, project: str, subjects: tuple[str, ...], since_ns: int) -> bool:
        """Return whether the project, or one of these subjects, was erased then or later."""
        return any(self._erased_ns.get((project, each), -1) >= since_ns for each in ("", *subjects))

    # -- by id ---------------------------------------------------------------------------------------------------------

    async def read(self, project: str, id: str) -> tuple[bytes, bool]:
        """Return the latest kept state, and whether it still runs. Raises `NotFound`, `InternalError`."""
        running = (project, id) in self._runs  # read first: one that ends in between has written everything
        return (await self._store.get(project, id, self._keep_s(project))).body, running

    async def cancel(self, project: str, id: str) -> tuple[bytes, bool]:
        """Cancel its generation, if it runs, and wait for its end. Returns as `read`."""
        await self._stop(project, id)
        return await self.read(project, id)

    async def delete(self, project: str, id: str) -> tuple[bytes, bool]:
        """Delete it, and return its last kept or remembered state. Raises `NotFound`, `InternalError`."""
        await self._stop(project, id)
        remembered = self.recents.drop(project, id)
        try:
            found = await self.read(project, id)
        except NotFound:
            if remembered is None:
                raise
            return remembered.body, False
        await self._store.delete(project, id)
        self._full.pop(project, None)
        return found

    async def _stop(self, project: str, id: str) -> None:
        run = self._runs.get((project, id))
        if run is not None:
            run.generation.fail(Cancelled("This was cancelled."))
            await asyncio.wait((run.task,))

    async def of_subject(self, project: str, subject: str) -> AsyncGenerator[Keep, None]:
        """Yield the stored answers about a person, by pseudonym. Raises `InternalError`."""
        after = ""
        while keep := await self._store.of_subject(project, subject, self._keep_s(project), after):
            after = keep.id
            yield keep

    async def erase(self, project: str, subject: str = "") -> tuple[int, int]:
        """Erase the project's answers, or those about one subject, by its pseudonym; also what is being answered now
        will not be kept. Return how many were stored, and how many remembered. Raises `InternalError`.
        """
        now_ns = self._clock.now_ns()
        earlier = self._erased_ns.items()
        self._erased_ns = {each: at for each, at in earlier if now_ns - at < LONGEST_ANSWER_NS}
        self._erased_ns[project, subject] = now_ns
        self._full.pop(project, None)
        remembered = self.recents.erase(project, subject)
        return await self._store.erase(project, subject or None), remembered

    # -- in the background ---------------------------------------------------------------------------------------------

    async def detach(
        self, generation: Generation, surface: AnswerSurface[Any], release: Callable[[], None]
    ) -> tuple[Wire, ...]:
        """Run a generation apart from its caller, and `release` what it holds at its end. Returns the messages for the
        caller, once it is kept. Raises `InternalError`.
        """
        messages: asyncio.Future[tuple[Wire, ...]] = asyncio.get_running_loop().create_future()
        running = asyncio.create_task(self._run(generation, surface, messages), name=f"background {generation.call.id}")
        running.add_done_callback(lambda _: release())
        await asyncio.wait((running, messages), return_when=asyncio.FIRST_COMPLETED)
        if not messages.done():
            raise InternalError("The response could not be started.")
        return messages.result()

    async def _run(
        self, generation: Generation, surface: AnswerSurface[Any], messages: "asyncio.Future[tuple[Wire, ...]]"
    ) -> None:
        run = _Background(self._runs, generation, surface, messages)
        ended = False
        try:
            await relay(run, run, self._clock, run.send)
            ended = True
        except Exception as error:
            log.error("background run failed", exc_info=error, extra={"session": generation.call.id})
        finally:
            try:
                await generation.close(delivered=ended)
            finally:
                run.over()

    # -- the end of keeping --------------------------------------------------------------------------------------------

    async def watch(self) -> None:
        """Delete expired answers, for ever."""
        while True:
            try:
                wiped = await self._store.purge(self._keep_s)
                self._full = {project: full for project, full in self._full.items() if project not in wiped}
                self._expired(wiped)
            except InternalError as error:
                log.error("stored answers cannot be deleted", exc_info=error)
            await asyncio.sleep(PURGE_S)

    async def close(self) -> None:
        """Cancel what still runs, after the generations have ended, and close the store."""
        tasks = [run.task for run in self._runs.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._store.close()
