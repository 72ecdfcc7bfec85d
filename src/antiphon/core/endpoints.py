"""The interface of a surface: endpoints of three kinds (`core/routing.py`), and their descriptions of a call."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

from antiphon.core.capabilities import SpeechAbility
from antiphon.core.conversation.spec import ConverseSpec
from antiphon.core.errors import AntiphonError
from antiphon.core.jobs import JobQuestion, NewJob
from antiphon.core.resources import Resource, ResourceQuestion
from antiphon.core.specs import SpeakSpec, Spec, TranscribeSpec
from antiphon.core.tensors import ModelForm
from antiphon.core.usage import Dimension
from antiphon.core.webhooks import WebhookQuestion
from antiphon.core.wire import (
    Body,
    Credential,
    ModelCard,
    Opening,
    Pending,
    ShortToken,
    Step,
    Url,
    VoiceCard,
    no_effect,
)

Event = TypeVar("Event", contravariant=True)
Asks = TypeVar("Asks", covariant=True)
Sent = TypeVar("Sent", bytes, Body, contravariant=True)


class Surface(Protocol[Event]):
    """One connection's translation between a vendor's wire format and the server's own events. It never blocks and
    holds no socket. `Event` is the output of its kind of session: `Output`, `SpeechOutput` or `ConversationOutput`.

    `now_ns` is monotonic. On HTTP, `receive` is not called: `negotiate` gets the body, and `emit` sends the answer, a
    `Head` first.
    """

    def receive(self, message: str | bytes, now_ns: int) -> Step: ...

    def emit(self, event: Event, now_ns: int) -> Step: ...

    def deadline_ns(self) -> int | None:
        """Return when to call `expire`, if nothing happens before; `None` for never."""

    def expire(self, now_ns: int) -> Step: ...


@dataclass(frozen=True, slots=True)
class Accepted(Generic[Asks]):
    """A valid call: its spec, and its surface.

    `media` is the audio of a call that sends it whole; `None` if it is streamed. `headers` and the chosen `subprotocol`
    go into the answer to a WebSocket's opening. That answer names the parameters that are `without_effect`, and those
    `dispensable` ones whose ability the engine lacks.
    """

    spec: Asks
    surface: Surface[Any]
    media: bytes | Url | None = None
    headers: tuple[tuple[str, str], ...] = ()
    subprotocol: str | None = None
    without_effect: tuple[str, ...] = ()
    dispensable: tuple[tuple[SpeechAbility, str], ...] = ()

    def headers_without(self, unmet: Collection[SpeechAbility]) -> tuple[tuple[str, str], ...]:
        """Return the response headers, if the engine lacks the abilities `unmet`."""
        return self.headers + no_effect((*self.without_effect, *unmet_names(self.dispensable, unmet)))


def unmet_names(dispensable: Iterable[tuple[SpeechAbility, str]], unmet: Collection[SpeechAbility]) -> tuple[str, ...]:
    """Return the names of the parameters that need an ability in `unmet`."""
    return tuple(name for ability, name in dispensable if ability in unmet)


class AnswerSurface(Protocol[Event]):
    """One call's translation of a model's events (`LanguageOutput` or `SpeechOutput`) to a vendor's wire format; a
    `Head` first.
    """

    def emit(self, event: Event, now_ns: int) -> Step: ...


@dataclass(frozen=True, slots=True)
class AnswerRequest:
    """A valid call of a model with a text: its spec, and its surface.

    `previous` is the id of a kept answer that this one continues: its conversation goes after the first `lead` messages
    of the prompt. `keep` asks to keep this answer (`None`: as the project's policy says). With `background` the caller
    gets only the surface's output for `Opened`, and the rest is kept. With `prepared` nothing is generated: the answer
    has no output, and a later call can continue from it. An error about one of these has its name as `param`.
    `subjects` are the pseudonyms of the people whom referred answers are about.
    """

    spec: Spec | SpeakSpec
    surface: AnswerSurface[Any]
    previous: str = ""
    lead: int = 0
    keep: bool | None = False
    background: bool = False
    prepared: bool = False
    subjects: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Referring:
    """A call that refers to earlier answers: their ids, and a function that makes the request from the kept ones that
    were found, by id. `resolve` raises `AntiphonError`.
    """

    answers: tuple[str, ...]
    resolve: Callable[[Mapping[str, bytes]], AnswerRequest]


@dataclass(frozen=True, slots=True)
class NeedsResource(Generic[Asks]):
    """The call needs a resource of the caller's project. `resolve` makes the request from it, or needs another one, and
    raises `AntiphonError`.
    """

    kind: str
    name: str
    resolve: "Callable[[Resource], Asks | NeedsResource[Asks]]"


@dataclass(frozen=True, slots=True)
class NeedsFirst:
    """The spec or the credential is in the first message. `headers` and `subprotocol` answer the opening; `surface` is
    used only to report errors until that message arrives.
    """

    surface: Surface[Any]
    headers: tuple[tuple[str, str], ...] = ()
    subprotocol: str | None = None


class Endpoint(Protocol):
    """What every route of a vendor can do before a session exists."""

    def credential(self, opening: Opening, first: str | bytes | None = None) -> Credential | Pending | None:
        """Return the caller's credential, wherever the vendor puts it; it is not verified here. `first` is the first
        message of a dialogue, once it has arrived.
        """

    def refuse(self, opening: Opening, error: AntiphonError) -> Step:
        """Return the error in the vendor's format. Over HTTP it begins with a `Head`; without one, a connection is
        accepted, gets the error, and is closed.
        """


class DialogueEndpoint(Endpoint, Protocol):
    """A route on which both sides send messages. Its surface gets every message, including the first."""

    def negotiate(
        self, opening: Opening, first: str | bytes | None = None
    ) -> (
        "Accepted[TranscribeSpec] | Accepted[SpeakSpec] | Accepted[ConverseSpec] | Succession | NeedsFirst"
        " | NeedsResource[Accepted[TranscribeSpec]]"
    ):
        """Translate the opening. `first` is set if `NeedsFirst` was returned before. Raises `AntiphonError` if the call
        is invalid.
        """


class SuccessiveCalls(Protocol):
    """A vendor's protocol for a connection on which each message is a call of a language model."""

    max_message_bytes: int

    def cancelled(self, message: str | bytes) -> str | None:
        """Return the id of the answer that this message cancels, empty for the current one, or `None` for any other
        message.
        """

    def ask(self, opening: Opening, message: str | bytes) -> AnswerRequest | Referring:
        """Return the request in the message; `opening` is the connection's, with an id of this call's own. Raises
        `AntiphonError` if the request is invalid.
        """

    def answer_id(self, session: str) -> str:
        """Return the id of the answer of that session."""

    def error(self, message: str | bytes, error: AntiphonError) -> Step:
        """Report that a message is not answered; for an empty message, that the connection ends, and close it."""


@dataclass(frozen=True, slots=True)
class Succession:
    """A dialogue in which each message is a call of a language model, and is answered before the next one."""

    calls: SuccessiveCalls
    headers: tuple[tuple[str, str], ...] = ()
    subprotocol: str | None = None


class CallEndpoint(Endpoint, Protocol[Sent]):
    """A route with one request, and one answer or stream. The body is `bytes`, or a `Body` if the route takes forms."""

    max_body_bytes: int

    def negotiate(
        self, opening: Opening, body: Sent
    ) -> AnswerRequest | Referring | Accepted[TranscribeSpec] | NeedsResource[Accepted[TranscribeSpec]] | NewJob:
        """Translate the request. A job is answered at once, and runs later. Raises `AntiphonError` if it is invalid."""


@runtime_checkable
class KeepingEndpoint(Protocol):
    """A call's endpoint whose answers may be kept."""

    def kept_as(self, session: str) -> str:
        """Return the id under which the answer of that session is kept, if it is."""

    def show(self, opening: Opening, body: bytes, running: bool) -> Step:
        """Return the response for the latest kept state of an answer; `running` says whether more will come."""


# -- questions that are answered at once: each says what it needs to know, and formats the answer (`tell`) -------------


@dataclass(frozen=True, slots=True)
class Offering:
    """The public names of everything served."""

    recognisers: Sequence[ModelCard]
    languages: Sequence[ModelCard]
    speakers: Sequence[ModelCard]
    voices: Sequence[VoiceCard]

    @property
    def models(self) -> Sequence[ModelCard]:
        return [*self.recognisers, *self.languages, *self.speakers]


@dataclass(frozen=True, slots=True)
class Offer:
    """A question about everything served."""

    tell: Callable[[Offering], Step]


@dataclass(frozen=True, slots=True)
class ProjectSpending:
    """The amount that a project was charged for one dimension."""

    project: str
    amount: int


@dataclass(frozen=True, slots=True)
class Spending:
    """A question about the amount of one `dimension` charged to the caller's project since then."""

    dimension: Dimension
    since_unix_ms: int
    tell: Callable[[ProjectSpending], Step]


class KeptAct(StrEnum):
    """The action on a kept answer, before it is shown."""

    READ = "read"
    CANCEL = "cancel"
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class KeptAnswer:
    """A question about one kept answer. `tell` gets its latest kept state, and whether its generation still runs."""

    act: KeptAct
    id: str
    tell: Callable[[bytes, bool], Step]


@dataclass(frozen=True, slots=True)
class Inquiry:
    """A question about a model of tensors: its form if `described`, else its readiness. Without a `model`, the server's
    readiness.
    """

    model: str = ""
    version: str = ""
    described: bool = False
    tell: Callable[[bool, ModelForm | None], Step] = field(kw_only=True, compare=False)


@dataclass(frozen=True, slots=True)
class OneCallSecret:
    """A request for a secret for one call: the settings for that call in the surface's own form, the secret's lifetime,
    and the default spec. `tell` gets that spec with its names filled in, the secret, and its expiry (Unix time in
    seconds). It needs the key itself.
    """

    settled: bytes
    lifetime_s: int
    spec: ConverseSpec
    tell: Callable[[ConverseSpec, str, int], Step]


Question = (
    Offer
    | Spending
    | KeptAnswer
    | Inquiry
    | OneCallSecret
    | ShortToken
    | JobQuestion
    | ResourceQuestion
    | WebhookQuestion
)


class LookupEndpoint(Endpoint, Protocol[Sent]):
    """A route for a question that is answered at once, uncharged. The body is `bytes`, or a `Body` if the route takes
    forms.
    """

    def ask(self, opening: Opening, body: Sent) -> Question | NeedsResource[Question] | Step:
        """Return the question, or the answer if no data is needed. Raises `AntiphonError` if it is invalid; an error
        raised by `tell` is also sent as a refusal.
        """
