"""What a surface is to the rest: endpoints in three shapes (`core/routing.py`), and what they say of a call."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

from antiphon.core.capabilities import SpeechAbility
from antiphon.core.conversation.spec import ConverseSpec
from antiphon.core.errors import AntiphonError
from antiphon.core.jobs import JobQuestion
from antiphon.core.resources import Resource, ResourceQuestion
from antiphon.core.specs import SpeakSpec, Spec, TranscribeSpec
from antiphon.core.tensors import ModelForm
from antiphon.core.usage import Dimension
from antiphon.core.wire import Body, Credential, ModelCard, Opening, Pending, Step, Url, VoiceCard, no_effect

Event = TypeVar("Event", contravariant=True)
Asks = TypeVar("Asks", covariant=True)
Sent = TypeVar("Sent", bytes, Body, contravariant=True)


class Surface(Protocol[Event]):
    """One connection's translation between a vendor's wire and our vocabulary. It never blocks and holds no socket.
    `Event` is what its kind of session says: `Output`, `SpeechOutput` or `ConversationOutput`.

    `now_ns` is monotonic. On HTTP, `receive` is not called: the body came with `negotiate`, the answer is what `emit`
    sends, a `Head` first.
    """

    def receive(self, message: str | bytes, now_ns: int) -> Step: ...

    def emit(self, event: Event, now_ns: int) -> Step: ...

    def deadline_ns(self) -> int | None:
        """When `expire` wants to be called, if nothing happens before."""

    def expire(self, now_ns: int) -> Step: ...


@dataclass(frozen=True, slots=True)
class Accepted(Generic[Asks]):
    """A call that makes sense: what it asks for, and who translates.

    `media` is the audio of a call that brings it whole; `None` where it will be streamed. `headers` go on the answer
    to a WebSocket's opening; `subprotocol` is the one chosen. That answer names the parameters that are
    `without_effect`, and of `dispensable` ones those whose ability the engine has not.
    """

    spec: Asks
    surface: Surface[Any]
    media: bytes | Url | None = None
    headers: tuple[tuple[str, str], ...] = ()
    subprotocol: str | None = None
    without_effect: tuple[str, ...] = ()
    dispensable: tuple[tuple[SpeechAbility, str], ...] = ()

    def headers_without(self, unmet: Collection[SpeechAbility]) -> tuple[tuple[str, str], ...]:
        """The headers of the answer, where the engine cannot do those."""
        return self.headers + no_effect((*self.without_effect, *lacking(self.dispensable, unmet)))


def lacking(dispensable: Iterable[tuple[SpeechAbility, str]], unmet: Collection[SpeechAbility]) -> tuple[str, ...]:
    """The names of the parameters that need what is `unmet`."""
    return tuple(name for ability, name in dispensable if ability in unmet)


class AnswerSurface(Protocol[Event]):
    """One call's translation of a model's events (`LanguageOutput` or `SpeechOutput`) to a vendor's wire; a `Head`
    first.
    """

    def emit(self, event: Event, now_ns: int) -> Step: ...


@dataclass(frozen=True, slots=True)
class AnswerRequest:
    """A call of a model with a text that makes sense: what it asks for, and who translates.

    `previous` is the id of a kept answer that this one goes on from: its conversation belongs after the first `lead`
    messages of the prompt. `keep` says that the caller wants this one kept (`None`: as the project's policy has it).
    With `background` the caller is told at once what the surface says to `Opened`, and what comes later is only kept.
    Of what is `prepared` nothing is generated: there is an answer without output, from which a later call can go on.
    An error about one of these has its name as `param`.
    """

    spec: Spec | SpeakSpec
    surface: AnswerSurface[Any]
    previous: str = ""
    lead: int = 0
    keep: bool | None = False
    background: bool = False
    prepared: bool = False


@dataclass(frozen=True, slots=True)
class Referring:
    """A call that refers to parts of earlier answers: the ids of those answers, and what is asked for once there is at
    hand what was kept of those that were found, by id. `resolve` raises `AntiphonError`.
    """

    answers: tuple[str, ...]
    resolve: Callable[[Mapping[str, bytes]], AnswerRequest]


@dataclass(frozen=True, slots=True)
class NeedsResource(Generic[Asks]):
    """A part of what is asked for stands in a resource of the caller's project. `resolve` is given that, and raises
    `AntiphonError`.
    """

    kind: str
    name: str
    resolve: Callable[[Resource], Asks]


@dataclass(frozen=True, slots=True)
class NeedsFirst:
    """What is asked for stands in the first message, or the credential does. `headers` and `subprotocol` answer the
    opening; `surface` says what goes wrong until the message has come, and is not used for anything else.
    """

    surface: Surface[Any]
    headers: tuple[tuple[str, str], ...] = ()
    subprotocol: str | None = None


class Endpoint(Protocol):
    """What every route of a vendor can do, before there is a session."""

    def credential(self, opening: Opening, first: str | bytes | None = None) -> Credential | Pending | None:
        """What the caller sent to show who it is, wherever the vendor puts it: `first` is the first message of a
        dialogue, once it has come. Whether it holds is not the surface's to say.
        """

    def refuse(self, opening: Opening, error: AntiphonError) -> Step:
        """The error in the vendor's own shape. Over HTTP it begins with a `Head`; without one, a connection is opened,
        told, and closed.
        """


class DialogueEndpoint(Endpoint, Protocol):
    """A route on which both sides talk. Its surface is given every message, the first one, too."""

    def negotiate(
        self, opening: Opening, first: str | bytes | None = None
    ) -> (
        "Accepted[TranscribeSpec] | Accepted[SpeakSpec] | Accepted[ConverseSpec] | Succession | NeedsFirst"
        " | NeedsResource[Accepted[TranscribeSpec]]"
    ):
        """`first` is there once `NeedsFirst` was said. Raises `AntiphonError` for a call that does not make sense."""


class SuccessiveCalls(Protocol):
    """What a vendor says on a connection on which each message is a call of a language model."""

    max_message_bytes: int

    def cancelled(self, message: str | bytes) -> str | None:
        """The id of the answer that this message takes back, empty for the one that is being made, or `None` for any
        other message.
        """

    def ask(self, opening: Opening, message: str | bytes) -> AnswerRequest | Referring:
        """What the message asks for; `opening` is the connection's, with an id of this call's own. Raises
        `AntiphonError` for one that does not make sense.
        """

    def answer_id(self, session: str) -> str:
        """What the answer of that session is called."""

    def error(self, message: str | bytes, error: AntiphonError) -> Step:
        """Says that a message is not answered; an empty one, that the connection ends, which closes it."""


@dataclass(frozen=True, slots=True)
class Succession:
    """A dialogue in which each message is a call of a language model, and is answered before the next one."""

    calls: SuccessiveCalls
    headers: tuple[tuple[str, str], ...] = ()
    subprotocol: str | None = None


class CallEndpoint(Endpoint, Protocol[Sent]):
    """A route with one request, and one answer or stream of it. What is sent is `bytes`, or a `Body` where the route
    takes forms.
    """

    max_body_bytes: int

    def negotiate(
        self, opening: Opening, body: Sent
    ) -> AnswerRequest | Referring | Accepted[TranscribeSpec] | NeedsResource[Accepted[TranscribeSpec]]:
        """Raises `AntiphonError` for a call that does not make sense."""


@runtime_checkable
class KeepingEndpoint(Protocol):
    """A call's endpoint whose answers may be kept."""

    def kept_as(self, session: str) -> str:
        """The id under which the answer of that session is kept, if it is."""

    def show(self, opening: Opening, body: bytes, running: bool) -> Step:
        """What was kept of a whole answer last; `running` says whether more will come."""


# -- questions that are answered at once: each says what it needs to know, and how that is told ------------------------


@dataclass(frozen=True, slots=True)
class Offered:
    """The public names of what is served here."""

    recognisers: Sequence[ModelCard]
    languages: Sequence[ModelCard]
    speakers: Sequence[ModelCard]
    voices: Sequence[VoiceCard]

    @property
    def models(self) -> Sequence[ModelCard]:
        return [*self.recognisers, *self.languages, *self.speakers]


@dataclass(frozen=True, slots=True)
class Offer:
    """What is served here."""

    tell: Callable[[Offered], Step]


@dataclass(frozen=True, slots=True)
class ProjectSpending:
    """How much of something a project was charged for."""

    project: str
    amount: int


@dataclass(frozen=True, slots=True)
class Spending:
    """What the caller's project was charged for, of one `dimension` from then on."""

    dimension: Dimension
    since_unix_ms: int
    tell: Callable[[ProjectSpending], Step]


class KeptAct(StrEnum):
    """What is done with a kept answer, before it is shown."""

    READ = "read"
    CANCEL = "cancel"
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class KeptAnswer:
    """One kept answer. `tell` is given what was kept of it last, and whether its generation still goes on."""

    act: KeptAct
    id: str
    tell: Callable[[bytes, bool], Step]


@dataclass(frozen=True, slots=True)
class Inquiry:
    """About a model of tensors: what it is like if `described`, else whether it is ready. Without a `model`, whether
    the server is.
    """

    model: str = ""
    version: str = ""
    described: bool = False
    tell: Callable[[bool, ModelForm | None], Step] = field(kw_only=True, compare=False)


@dataclass(frozen=True, slots=True)
class OneCallSecret:
    """A secret for one call: what is settled for that, in the surface's own form, how long it may wait, and the call
    that it opens if nothing more is said. `tell` is given that call with its names filled in, the secret, and the Unix
    time in seconds at which it expires. To make one takes the key itself.
    """

    settled: bytes
    lifetime_s: int
    spec: ConverseSpec
    tell: Callable[[ConverseSpec, str, int], Step]


@dataclass(frozen=True, slots=True)
class ShortToken:
    """A token that stands for the caller's key on the vendor's paths for a short time, and which `tell` is given. To
    make one takes the key itself. One that is used up by its first dialogue (`once`) may have settled something for it.
    """

    lifetime_s: int
    tell: Callable[[str], Step]
    once: bool = False
    settled: bytes = b""


Question = Offer | Spending | KeptAnswer | Inquiry | OneCallSecret | ShortToken | JobQuestion | ResourceQuestion


class LookupEndpoint(Endpoint, Protocol[Sent]):
    """A route with a question that is answered at once, and charged nothing. What is sent is `bytes`, or a `Body` where
    the route takes forms.
    """

    def ask(self, opening: Opening, body: Sent) -> Question | NeedsResource[Question] | Step:
        """The question, or the answer where nothing has to be known. Raises `AntiphonError` for one that does not make
        sense; what `tell` raises is refused, too.
        """
