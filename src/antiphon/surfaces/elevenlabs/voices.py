"""`GET /v1/voices`, `/v1/voices/{voice_id}`, `/v2/voices` and `/v1/models`: the available voices and models.

A voice's id is a public name of it, its name is the voice behind the public name. All of them come with the
server: none belongs to a user, or was cloned, shared or rated, which most filters of the search are about.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from antiphon.core.endpoints import Offer
from antiphon.core.errors import CallerError, UnknownVoice, UnsupportedParameter
from antiphon.core.wire import ModelCard, Opening, Response, VoiceCard
from antiphon.surfaces.elevenlabs import wire
from antiphon.surfaces.elevenlabs.parameters import read_query
from antiphon.surfaces.elevenlabs.speech import MAX_CHARACTERS

CATEGORY = "premade"

# -- shapes ------------------------------------------------------------------------------------------------------------


class Voice(Struct, frozen=True):
    """A voice. Older SDKs require its fields that are null."""

    voice_id: str
    name: str
    category: str
    labels: dict[str, str]
    description: str
    samples: None = None
    preview_url: None = None
    available_for_tiers: tuple[str, ...] = ()
    settings: wire.VoiceSettings | None = None
    sharing: None = None
    high_quality_base_model_ids: tuple[str, ...] = ()
    is_owner: bool = False
    is_legacy: bool = False
    is_mixed: bool = False


class VoiceList(Struct, frozen=True):
    voices: list[Voice]


class VoicePage(Struct, frozen=True):
    voices: list[Voice]
    has_more: bool
    total_count: int
    next_page_token: str | None


class Language(Struct, frozen=True):
    language_id: str
    name: str


class ModelRates(Struct, frozen=True):
    character_cost_multiplier: float = 1.0


class Model(Struct, frozen=True):
    """A model. `name` is the model behind its public name. Every model in this list speaks, and does nothing else."""

    model_id: str
    name: str
    description: str
    languages: list[Language]
    can_be_finetuned: bool = False
    can_do_text_to_speech: bool = True
    can_do_voice_conversion: bool = False
    can_use_style: bool = False
    can_use_speaker_boost: bool = False
    serves_pro_voices: bool = False
    token_cost_factor: float = 1.0
    requires_alpha_access: bool = False
    max_characters_request_free_user: int = MAX_CHARACTERS
    max_characters_request_subscribed_user: int = MAX_CHARACTERS
    maximum_text_length_per_request: int = MAX_CHARACTERS
    model_rates: ModelRates = ModelRates()
    concurrency_group: str = "standard"


def _voice(card: VoiceCard) -> Voice:
    description = f"Synthetic speech, {card.language}, {card.sample_rate} Hz."
    return Voice(card.name, card.voice, CATEGORY, {"language": card.language}, description)


class Listing(wire.Endpoint, ABC):
    """A list of voices, or of models that speak."""

    def ask(self, opening: Opening, body: bytes) -> Offer:
        return Offer(lambda offered: self.answer(opening, offered.voices, offered.speakers))

    @abstractmethod
    def answer(self, opening: Opening, voices: Sequence[VoiceCard], models: Sequence[ModelCard]) -> Response:
        """Return the list as the answer. Raises `AntiphonError`."""


# -- lists -------------------------------------------------------------------------------------------------------------


class AllVoicesQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """The query of `/v1/voices`. There are no legacy voices."""

    show_legacy: bool | None = None


class OneVoiceQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """The query of one voice. Its parameter is deprecated, and has no effect at ElevenLabs, either."""

    with_settings: bool | None = None


class AllVoices(Listing):
    """`/v1/voices`."""

    def answer(self, opening: Opening, voices: Sequence[VoiceCard], models: Sequence[ModelCard]) -> Response:
        read_query(opening, AllVoicesQuery)
        return wire.json_response(opening, 200, VoiceList([_voice(card) for card in voices]))


class OneVoice(Listing):
    """`/v1/voices/{voice_id}`."""

    def answer(self, opening: Opening, voices: Sequence[VoiceCard], models: Sequence[ModelCard]) -> Response:
        read_query(opening, OneVoiceQuery)
        id = opening.path.partition("/voices/")[2]
        for card in voices:
            if card.name == id:
                return wire.json_response(opening, 200, _voice(card))
        raise UnknownVoice(f"A voice with the voice_id {id[: wire.MAX_SHOWN]!r} was not found.", param="voice_id")


class NoQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """The query of an endpoint without parameters."""


class Models(Listing):
    """`/v1/models`."""

    def answer(self, opening: Opening, voices: Sequence[VoiceCard], models: Sequence[ModelCard]) -> Response:
        read_query(opening, NoQuery)
        tags = sorted({card.language.partition("-")[0] for card in voices})
        languages = [Language(tag, "English" if tag == "en" else tag) for tag in tags]
        return wire.json_response(opening, 200, [_model(card, languages) for card in models])


def _model(card: ModelCard, languages: list[Language]) -> Model:
    return Model(card.name, card.local, f"Answered by {card.local}.", languages)


# -- the search --------------------------------------------------------------------------------------------------------

Several = list[str]
_REPEATED = ("language", "use_cases", "voice_ids")


class SearchQuery(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The query of a search. A null parameter, like an absent one, filters nothing."""

    next_page_token: Annotated[str, Meta(pattern=r"^[0-9]{1,9}$")] = "0"
    page_size: Annotated[int, Meta(ge=1, le=100)] = 10
    include_total_count: bool = True
    sort: str | None = None
    sort_direction: str | None = None
    search: str | None = None
    voice_ids: Several | None = None
    language: Several | None = None
    category: str | None = None
    voice_type: str | None = None
    high_quality: bool | None = None
    gender: str | None = None
    age: str | None = None
    accent: str | None = None
    use_cases: Several | None = None
    fine_tuning_state: str | None = None
    collection_id: str | None = None
    min_notice_period_days: int | None = None
    include_custom_rates: bool | None = None
    include_live_moderated: bool | None = None


def _mentions(voice: Voice, text: str) -> bool:
    searched = (voice.name, voice.description, voice.category, *voice.labels.values())
    return any(text.lower() in each.lower() for each in searched)


# The condition of each filter. A filter for a quality that no voice has finds none; `include_...` only adds.
_FILTERS: dict[str, Callable[[Voice, SearchQuery], bool]] = {
    "search": lambda voice, query: _mentions(voice, query.search or ""),
    "voice_ids": lambda voice, query: voice.voice_id in (query.voice_ids or ()),
    "language": lambda voice, query: voice.labels["language"].partition("-")[0] in (query.language or ()),
    "category": lambda voice, query: voice.category == query.category,
    "voice_type": lambda voice, query: query.voice_type == "default",
    "high_quality": lambda voice, query: not query.high_quality,
    **dict.fromkeys(
        ("gender", "age", "accent", "use_cases", "fine_tuning_state", "collection_id", "min_notice_period_days"),
        lambda voice, query: False,
    ),
}


class SearchVoices(Listing):
    """`/v2/voices`. The token of a page is the number of voices before it."""

    def answer(self, opening: Opening, voices: Sequence[VoiceCard], models: Sequence[ModelCard]) -> Response:
        query = _read_search(opening)
        filters = [name for name in _FILTERS if getattr(query, name) is not None]
        found = [voice for voice in map(_voice, voices) if all(_FILTERS[name](voice, query) for name in filters)]
        if query.sort is not None or query.sort_direction is not None:
            found.sort(key=lambda voice: voice.name.lower(), reverse=query.sort_direction == "desc")
        start = int(query.next_page_token)
        end = start + query.page_size
        more = end < len(found)
        count = len(found) if query.include_total_count else 0
        page = VoicePage(found[start:end], more, count, str(end) if more else None)
        return wire.json_response(opening, 200, page)


def _read_search(opening: Opening) -> SearchQuery:
    values: dict[str, str | list[str]] = {}
    for name, value in opening.query:
        if name in _REPEATED:
            values[name] = [*values.get(name, ()), value]
        elif name in values:
            raise CallerError("This parameter was given more than once.", param=name)
        else:
            values[name] = value
    query = wire.read(lambda: msgspec.convert(values, SearchQuery, strict=False))
    if query.sort == "created_at_unix":
        raise UnsupportedParameter("Sorting by creation time is not supported.", param="sort")
    if query.sort not in (None, "name"):
        raise CallerError("Supported values: 'name' and 'created_at_unix'.", param="sort")
    if query.sort_direction not in (None, "asc", "desc"):
        raise CallerError("Supported values: 'asc' and 'desc'.", param="sort_direction")
    return query
