"""Makes a price book of LiteLLM's table of prices (`model_prices_and_context_window.json`), and reports what it cannot
convert.

Facts about that file: figures are JSON floats, so digits after the twelfth are rounding errors and are dropped; a
vendor's price per minute is in `metadata` if the figure per second was computed from it; some models of transcription
have one price twice, as input and as output; there is no currency, date, increment or minimum. If a figure of a model
cannot be converted, the model is imported without it, and marked.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Context, Decimal, InvalidOperation
from typing import Any

from antiphon.core.errors import CallerError
from antiphon.core.usage import Dimension
from antiphon.metering.pricing.book import ANY, REQUESTS
from antiphon.metering.pricing.parse import parse_book

MAX_BYTES = 64 << 20
DIGITS = 12

_MILLION = 1_000_000
_TRANSCRIPTION, _SPEECH, _EMBEDDING = "audio_transcription", "audio_speech", "embedding"
_LANGUAGE = ("chat", "completion", "responses")
_LISTED = {"original_pricing_per_minute": "minute", "original_pricing_per_hour": "hour"}  # in `metadata`
# By mode and key: the dimension, and the units (a number or a name) that the figure is for.
_PLACES: Mapping[tuple[str, str], tuple[str, int | str]] = {
    **{(mode, "input_cost_per_token"): (Dimension.LLM_INPUT_TOKENS, _MILLION) for mode in _LANGUAGE},
    **{(mode, "cache_read_input_token_cost"): (Dimension.LLM_CACHED_TOKENS, _MILLION) for mode in _LANGUAGE},
    **{(mode, "output_cost_per_token"): (Dimension.LLM_OUTPUT_TOKENS, _MILLION) for mode in _LANGUAGE},
    **{(mode, "output_cost_per_reasoning_token"): (Dimension.LLM_REASONING_TOKENS, _MILLION) for mode in _LANGUAGE},
    **{(mode, "input_cost_per_request"): (REQUESTS, 1) for mode in (*_LANGUAGE, _EMBEDDING, _TRANSCRIPTION, _SPEECH)},
    (_EMBEDDING, "input_cost_per_token"): (Dimension.EMBEDDING_TOKENS, _MILLION),
    (_TRANSCRIPTION, "input_cost_per_second"): (Dimension.STT_AUDIO_MS, "second"),
    (_TRANSCRIPTION, "output_cost_per_second"): (Dimension.STT_AUDIO_MS, "second"),
    (_SPEECH, "input_cost_per_character"): (Dimension.TTS_CHARACTERS, 1),
    (_SPEECH, "output_cost_per_second"): (Dimension.TTS_AUDIO_MS, "second"),
}
# For a dimension without a figure in the table, the dimension whose figure is used.
_LIKE = {
    Dimension.LLM_CACHED_TOKENS: Dimension.LLM_INPUT_TOKENS,
    Dimension.LLM_REASONING_TOKENS: Dimension.LLM_OUTPUT_TOKENS,
}
# A speech model charges for one of these, not for both.
_EITHER = (Dimension.TTS_CHARACTERS, Dimension.TTS_AUDIO_MS)
# Vendors write a zero for the figure that a model does not charge.
_NOTHING = Decimal(0)


@dataclass(frozen=True, slots=True)
class Converted:
    """The file, and a remark on each model that was not converted completely."""

    text: str
    notes: tuple[str, ...]
    summary: str


@dataclass(slots=True)
class _Model:
    """One model's prices by dimension: the figure, and for how many units it is."""

    name: str
    prices: dict[str, tuple[Decimal, int | str]] = field(default_factory=dict)
    dropped: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def convert(data: bytes, *, book: str, version: str, since: str, currency: str, models: str = "") -> Converted:
    """Return the book in a file. `models` are the beginnings of the wanted models' names. Raises `CallerError` if
    `data` is not such a table.
    """
    if len(data) > MAX_BYTES:
        raise CallerError(f"the table is longer than {MAX_BYTES} bytes")
    try:
        table = json.loads(data, parse_float=Decimal)
    except (ValueError, InvalidOperation, RecursionError) as error:
        raise CallerError(f"the table is not JSON: {error}") from None
    if not isinstance(table, dict):
        raise CallerError("the table is no JSON object of models")
    found = [_model(name, row) for name, row in _rows(table, models)]
    priced = [model for model in found if model.prices]
    head = [
        f"book = {json.dumps(book)}",
        f"version = {json.dumps(version)}",
        f"currency = {json.dumps(currency)}",
        f"from = {since}",
        'rounding = { mode = "half_up", per = "session" }',
        'sources = ["https://github.com/BerriAI/litellm, model_prices_and_context_window.json"]',
    ]
    text = "\n".join([*head, *_tables(priced)]) + "\n"
    parse_book(text.encode(), "made of the table")
    notes = [note for model in found for note in _notes(model)]
    part = sum(1 for model in priced if model.dropped)
    summary = (
        f"{len(priced)} of {len(found)} models imported, {part} of them incomplete; set increments and minima by hand"
    )
    return Converted(text, tuple(notes), summary)


def _rows(table: Mapping[str, Any], models: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name, row in sorted(table.items()):
        if name != "sample_spec" and isinstance(row, dict) and name.startswith(models):
            yield name, row


def _model(name: str, row: Mapping[str, Any]) -> _Model:
    model = _Model(name)
    mode = row.get("mode", "")
    if ANY in name:
        model.dropped.append("its name has a *")
        return model
    for key, figure in row.items():
        if "cost" not in key or not isinstance(figure, int | Decimal) or isinstance(figure, bool):
            if "cost" in key and figure:
                model.dropped.append(key)
            continue
        place = _PLACES.get((mode, key))
        if place is None:
            if figure:
                model.dropped.append(key)
            continue
        _put(model, key, place, Decimal(figure))
    listed = row.get("metadata")
    if Dimension.STT_AUDIO_MS in model.prices and isinstance(listed, dict):
        for key, per in _LISTED.items():
            if isinstance(listed.get(key), int | Decimal):
                model.prices[Dimension.STT_AUDIO_MS] = Decimal(listed[key]), per
                break
    _complete(model)
    return model


def _put(model: _Model, key: str, place: tuple[str, int | str], figure: Decimal) -> None:
    """Set a figure. One that is present twice, as input and as output, counts once."""
    dimension, per = place
    if figure < 0 or not figure.is_finite():
        model.dropped.append(key)
        return
    exact, figure = figure, Context(prec=DIGITS).plus(figure)
    if figure != exact:
        model.notes.append(f"{key} = {exact} is taken for {figure}")
    other = model.prices.get(dimension)
    if other is None or not other[0]:
        model.prices[dimension] = figure, per
    elif figure and figure != other[0]:
        model.dropped.append(key)


def _complete(model: _Model) -> None:
    for dimension, like in _LIKE.items():
        if like in model.prices:
            model.prices.setdefault(dimension, model.prices[like])
    charged = [dimension for dimension in _EITHER if model.prices.get(dimension, (_NOTHING,))[0]]
    if charged:
        for dimension in _EITHER:
            model.prices.setdefault(dimension, (_NOTHING, 1))


def _tables(models: Iterable[_Model]) -> Iterator[str]:
    taken: set[str] = set()
    for model in models:
        for dimension, (figure, per) in model.prices.items():
            id = _id(model.name, dimension, taken)
            amount = figure * per if isinstance(per, int) else figure
            yield "\n[[price]]"
            yield f'id = "{id}"'
            yield f'dimension = "{dimension}"'
            yield f"model = {json.dumps(model.name)}"
            yield f'amount = "{amount.normalize():f}"'
            yield f"per = {json.dumps(per)}"
            if model.dropped:
                yield f"note = {json.dumps('incomplete, without ' + ', '.join(model.dropped))}"


def _id(name: str, dimension: str, taken: set[str]) -> str:
    """Return an id of allowed characters and length, with a number if it is taken."""
    end = "." + re.sub(r"[^A-Za-z0-9]+", "-", str(dimension))
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", name).lstrip("._-") or "model"
    number, id = 1, stem[: 58 - len(end)] + end
    while id in taken:
        number += 1
        id = f"{stem[: 58 - len(end)]}{end}{number}"
    taken.add(id)
    return id


def _notes(model: _Model) -> Iterator[str]:
    if not model.prices:
        yield f"{model.name}: not imported: {', '.join(model.dropped) or 'the table has no price for it'}"
    elif model.dropped:
        yield f"{model.name}: incomplete, without {', '.join(model.dropped)}"
    for note in model.notes:
        yield f"{model.name}: {note}"
