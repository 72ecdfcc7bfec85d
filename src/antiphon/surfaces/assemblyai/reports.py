"""`Heartbeat` and `Silence`: when the session is asked how far it is, and what the caller is told of it.

Both are sent by the clock of the connection, whether audio comes or not: a heartbeat every five seconds, a silence
every second in which there was enough of it.
"""

from dataclasses import dataclass

from antiphon.core.events import Progress
from antiphon.core.units import NS_PER_MS, NS_PER_S
from antiphon.surfaces.assemblyai import wire
from antiphon.surfaces.assemblyai.parameters import Settings

HEARTBEAT_NS = 5 * NS_PER_S
SILENCE_NS = NS_PER_S
LEAST_SILENCE_MS = 500  # that is worth a message; what is less is part of the next one
DIGITS = 4


@dataclass(slots=True)
class Timer:
    """One kind of message: when the session is asked for it next (`None`: never), and whether an answer is awaited."""

    period_ns: int
    due_ns: int | None = None
    awaited: bool = False

    def switch(self, wanted: bool, now_ns: int) -> None:
        """Begin or stop; a timer that goes on keeps its time."""
        if not wanted:
            self.due_ns, self.awaited = None, False
        elif self.due_ns is None:
            self.due_ns = now_ns + self.period_ns

    def ask(self, now_ns: int) -> None:
        """Await an answer from now on, if it is time."""
        if self.due_ns is not None and self.due_ns <= now_ns:
            self.awaited = True
            self.due_ns += self.period_ns * (1 + (now_ns - self.due_ns) // self.period_ns)

    def take(self) -> bool:
        """Return whether an answer was awaited, which has come now."""
        awaited, self.awaited = self.awaited, False
        return awaited


class Reports:
    """What is due, and since when. `covered_ms` is where the last turn or `Silence` ended."""

    def __init__(self) -> None:
        self.covered_ms = 0
        self._heartbeat, self._silence = Timer(HEARTBEAT_NS), Timer(SILENCE_NS)
        self._began_ns = 0
        self._since_ns, self._since_ms = 0, 0  # the time of the last heartbeat, and the audio received until then
        self._peak = 0.0  # the highest probability of speech since then

    def begin(self, settings: Settings, now_ns: int) -> None:
        """Note that the session begins now."""
        self._began_ns = self._since_ns = now_ns
        self.change(settings, now_ns)

    def change(self, settings: Settings, now_ns: int) -> None:
        """Begin or stop what the settings ask for."""
        self._heartbeat.switch(settings.heartbeat, now_ns)
        self._silence.switch(settings.silence, now_ns)

    def deadline_ns(self) -> int | None:
        """Return when the session is to be asked next, `None` if nothing is wanted."""
        dues_ns = (self._heartbeat.due_ns, self._silence.due_ns)
        return min((due_ns for due_ns in dues_ns if due_ns is not None), default=None)

    def ask(self, now_ns: int) -> None:
        """Note that the session is asked now."""
        self._heartbeat.ask(now_ns)
        self._silence.ask(now_ns)

    def render(self, progress: Progress, now_ns: int) -> list[wire.Heartbeat | wire.Silence]:
        """Return the messages that the session was asked for."""
        self._peak = max(self._peak, progress.speech_probability)
        messages: list[wire.Heartbeat | wire.Silence] = []
        if self._silence.take() and progress.settled_ms - self.covered_ms >= LEAST_SILENCE_MS:
            messages.append(wire.Silence(self.covered_ms, progress.settled_ms))
            self.covered_ms = progress.settled_ms
        if self._heartbeat.take():
            messages.append(self._beat(progress.received_ms, now_ns))
        return messages

    def _beat(self, received_ms: int, now_ns: int) -> wire.Heartbeat:
        passed_ms = max(1, (now_ns - self._since_ns) // NS_PER_MS)
        factor = round((received_ms - self._since_ms) / passed_ms, DIGITS)
        peak, self._peak = round(self._peak, DIGITS), 0.0
        self._since_ns, self._since_ms = now_ns, received_ms
        return wire.Heartbeat(received_ms, (now_ns - self._began_ns) // NS_PER_MS, factor, peak)
