"""What becomes of answers that are kept: who may have theirs kept, what goes on from them, who runs in the background.

The project's policy decides, at every turn: for a project that keeps nothing nothing is written, and nothing that was
written is shown. A run in the background is a generation like any other, in the same bounds, whose caller has left: it
ends by itself, is cancelled through its id, or fails with the server. Only this process runs generations, so an answer
that is kept as unfinished and does not run here was interrupted.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from antiphon.core.errors import AntiphonError, CallerError, Cancelled, InternalError, NotFound
from antiphon.core.ports import AnswerSurface, Asked, Clock
from antiphon.core.specs import GenerateSpec, Message, Role, SpeakSpec, Spec
from antiphon.core.wire import Keep, Wire
from antiphon.session.generation import Generation, Keeping
from antiphon.trust.kept import KeptAnswers

PURGE_S = 30.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Run:
    generation: Generation
    task: asyncio.Task[None]


class Keeper:
    """All kept answers, and those that are made in the background. `keep_s` is each project's policy, 0 for none."""

    def __init__(self, store: KeptAnswers, keep_s: Callable[[str], int], clock: Clock) -> None:
        self._store = store
        self._keep_s = keep_s
        self._clock = clock
        self._runs: dict[tuple[str, str], _Run] = {}

    async def begin(self, project: str, asked: Asked) -> tuple[Spec | SpeakSpec, Keeping | None]:
        """What is asked for, with the turns that it goes on from; and what keeps its answer, if it is kept.

        Raises `CallerError` for what the policy does not allow and for a previous answer that there is not.
        """
        allowed = self._keep_s(project) > 0
        if asked.keep and not allowed:
            raise CallerError("This project's policy is to keep no answers.", param="keep")
        keep = allowed if asked.keep is None else asked.keep
        if asked.background and not keep:
            raise CallerError("Only an answer that is kept can be made in the background.", param="background")
        before = await self._before(project, asked.previous) if asked.previous else ()
        spec = asked.spec
        if before and isinstance(spec, GenerateSpec) and not isinstance(spec.prompt, str):
            prompt = spec.prompt[: asked.lead] + before + spec.prompt[asked.lead :]
            called = {call.id for message in prompt for call in message.tool_calls}
            if any(message.role is Role.TOOL and message.tool_call_id not in called for message in prompt):
                raise CallerError("No tool call found for a tool's output.", param="prompt")
            spec = replace(spec, prompt=prompt)
        return spec, partial(self._put, project, before) if keep else None

    async def _before(self, project: str, id: str) -> tuple[Message, ...]:
        try:
            conversation = (await self._store.get(project, id, self._keep_s(project))).conversation
        except NotFound as error:
            raise CallerError(error.message, param="previous") from None
        if not conversation:
            raise CallerError("That answer was not completed, so nothing can go on from it.", param="previous")
        return conversation

    async def _put(self, project: str, before: tuple[Message, ...], keep: Keep) -> None:
        keep_s = self._keep_s(project)
        if keep.conversation:
            keep = replace(keep, conversation=before + keep.conversation)
        if keep_s:  # it may have changed since the answer was begun
            await self._store.put(project, keep, keep_s)

    # -- by id ---------------------------------------------------------------------------------------------------------

    async def read(self, project: str, id: str) -> tuple[bytes, bool]:
        """What was kept of it last, and whether it still runs. Raises `NotFound`, `InternalError`."""
        running = (project, id) in self._runs  # asked first: what ends in between has written all it will
        return (await self._store.get(project, id, self._keep_s(project))).body, running

    async def cancel(self, project: str, id: str) -> tuple[bytes, bool]:
        """As `read`, after its generation has ended, if it was running."""
        await self._stop(project, id)
        return await self.read(project, id)

    async def delete(self, project: str, id: str) -> tuple[bytes, bool]:
        """What was kept of it last. Raises `NotFound`, `InternalError`."""
        await self._stop(project, id)
        found = await self.read(project, id)
        await self._store.delete(project, id)
        return found

    async def _stop(self, project: str, id: str) -> None:
        run = self._runs.get((project, id))
        if run is not None:
            run.generation.fail(Cancelled("This was cancelled."))
            await asyncio.wait((run.task,))

    # -- in the background ---------------------------------------------------------------------------------------------

    async def detach(self, generation: Generation, surface: AnswerSurface[Any]) -> tuple[Wire, ...]:
        """Runs a generation apart from its caller. What that one is told, once it is kept. Raises `InternalError`."""
        told: asyncio.Future[tuple[Wire, ...]] = asyncio.get_running_loop().create_future()
        running = asyncio.create_task(self._run(generation, surface, told), name=f"background {generation.id}")
        await asyncio.wait((running, told), return_when=asyncio.FIRST_COMPLETED)
        if not told.done():
            raise InternalError("The answer could not be begun.")
        return told.result()

    async def _run(
        self, generation: Generation, surface: AnswerSurface[Any], told: "asyncio.Future[tuple[Wire, ...]]"
    ) -> None:
        key: tuple[str, str] | None = None
        task = asyncio.current_task()
        assert task is not None
        ended = False
        try:
            async with aclosing(generation.events()) as produced:
                async for events in produced:
                    for event in events:
                        step = surface.emit(event, self._clock.now_ns())
                        if step.keep is not None:
                            key = (generation.principal.project, step.keep.id)
                            self._runs[key] = _Run(generation, task)
                            await generation.keep(step.keep)
                        if not told.done():
                            told.set_result(step.sends)
            ended = True
        except AntiphonError as error:
            generation.fail(error)
            if not told.done():
                told.set_exception(error)
        except Exception as error:
            log.error("background run failed", exc_info=error, extra={"session": generation.id})
        finally:
            try:
                await generation.close(delivered=ended)
            finally:
                if key is not None:
                    del self._runs[key]

    # -- the end of keeping --------------------------------------------------------------------------------------------

    async def watch(self) -> None:
        """Runs for ever: wipes what is past its end."""
        while True:
            try:
                await self._store.purge(self._keep_s)
            except InternalError as error:
                log.error("kept answers cannot be purged", exc_info=error)
            await asyncio.sleep(PURGE_S)

    async def close(self) -> None:
        """After the generations have ended: what still runs is given up."""
        tasks = [run.task for run in self._runs.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._store.close()
