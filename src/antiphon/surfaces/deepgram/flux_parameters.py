"""The query parameters of Deepgram's Flux: a table of all of them, and their meaning."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from antiphon.core.audio import AudioFormat
from antiphon.core.errors import CallerError
from antiphon.core.redaction import Redaction
from antiphon.core.rewriting import MASK
from antiphon.core.specs import TurnRules
from antiphon.surfaces.deepgram import query as q
from antiphon.surfaces.deepgram import redaction
from antiphon.surfaces.deepgram.flux_wire import (
    MAX_EAGER,
    MAX_EOT,
    MAX_TIMEOUT_MS,
    MIN_EAGER,
    MIN_EOT,
    MIN_TIMEOUT_MS,
)
from antiphon.surfaces.deepgram.parameters import GUIDES, MAX_TERM_CHARS, PROFANITY, audio_format, terms
from antiphon.surfaces.deepgram.query import MAX_TAG_CHARS, MAX_TAGS, Parameter, Use, Values
from antiphon.surfaces.deepgram.wire import ParameterWarning

USUAL = TurnRules()

TABLE: tuple[Parameter, ...] = (
    Parameter("model", Use.LIVE, "Any name that the server's table of models knows; `flux-general-en` is one."),
    Parameter(
        "encoding",
        Use.LIVE,
        "As of `/v1/listen`: `linear16` and `linear32` (with `sample_rate`), `mulaw`, `alaw`, `opus`, `ogg-opus`. What "
        "comes without `encoding` describes itself.",
    ),
    Parameter("sample_rate", Use.LIVE, "Hertz, for the raw encodings. A warning where the audio itself says."),
    Parameter(
        "eot_threshold",
        Use.LIVE,
        f"{MIN_EOT} to {MAX_EOT}, {USUAL.confidence} without it: how sure it must be that a turn is over. With 1 only "
        "`eot_timeout_ms` and `ForceEndTurn` end one.",
    ),
    Parameter(
        "eager_eot_threshold",
        Use.LIVE,
        f"{MIN_EAGER} to {MAX_EAGER}, and not over `eot_threshold`: how sure it must be for `EagerEndOfTurn`, which is "
        "not sent without it.",
    ),
    Parameter(
        "eot_timeout_ms",
        Use.LIVE,
        f"{MIN_TIMEOUT_MS} to {MAX_TIMEOUT_MS}, {USUAL.timeout_ms} without it: silence that ends a turn in any case.",
    ),
    Parameter("keyterm", Use.LIVE, f"{GUIDES} At most {MAX_TERM_CHARS} characters."),
    Parameter("numerals", Use.WITHOUT_EFFECT, "Formatting of the text cannot be changed."),
    Parameter(
        "language_hint", Use.LIVE, "Languages that the model hears, of which one is spoken. Fixed for the stream."
    ),
    Parameter("mip_opt_out", Use.LIVE, "Always so: nothing is kept and no model is trained on what is sent."),
    Parameter("tag", Use.LIVE, f"Kept with the usage; {MAX_TAGS} at most, of at most {MAX_TAG_CHARS} characters."),
    Parameter("profanity_filter", Use.LIVE, f"`true` writes `{MASK}` for it: {PROFANITY}"),
    Parameter(
        "redact",
        Use.LIVE,
        "`numbers`, `true` or `aggressive_numbers`, all the same: numbers that identify something are written as "
        "`[PHONE_NUMBER_1]`.",
    ),
)

_BY_NAME = {row.name: row for row in TABLE}
_NUMBER = re.compile(r"[0-9]{1,6}(\.[0-9]{1,20})?")  # 0.7 may be written as 0.7000000000000001


@dataclass(frozen=True, slots=True)
class Request:
    """The request of a query. `without_effect` are the names of its parameters that do nothing here, and why."""

    model: str
    format: AudioFormat
    turns: TurnRules
    tags: tuple[str, ...]
    masks: bool
    languages: tuple[str, ...]
    keyterms: tuple[str, ...]
    without_effect: tuple[tuple[str, str], ...]
    redaction: Redaction | None


def read(query: Sequence[tuple[str, str]]) -> Request:
    """Return the request. Raises `CallerError` for an invalid value, `UnsupportedParameter` for what is not
    honoured.
    """
    values = q.sorted_by_name(query, _BY_NAME, Use.LIVE)
    q.flag(values, "mip_opt_out")
    model = q.one(values, "model")
    if not model:
        raise CallerError("`model` is required.", param="model")
    unused = [ParameterWarning(row.name, "unsupported", row.how) for row in q.without_effect(values, _BY_NAME)]
    return Request(
        model=model,
        format=audio_format(values, live=True, multichannel=False, warnings=unused),
        turns=_turns(values),
        tags=q.tags(values),
        masks=q.flag(values, "profanity_filter"),
        languages=tuple(values.get("language_hint", ())),
        keyterms=terms(values, "keyterm"),
        without_effect=tuple((each.parameter, each.message) for each in unused),
        redaction=redaction.read(values.get("redact", ()), numbers_only=True),
    )


def check_order(turns: TurnRules) -> None:
    """Raise `CallerError` if the eager end would be later than the end."""
    if turns.early_confidence is not None and turns.early_confidence > turns.confidence:
        raise CallerError(
            "`eager_eot_threshold` must not be greater than `eot_threshold`.", param="eager_eot_threshold"
        )


def _turns(values: Values) -> TurnRules:
    confidence = _number(values, "eot_threshold", MIN_EOT, MAX_EOT)
    turns = TurnRules(
        USUAL.confidence if confidence is None else confidence,
        q.whole(values, "eot_timeout_ms", MIN_TIMEOUT_MS, MAX_TIMEOUT_MS) or USUAL.timeout_ms,
        _number(values, "eager_eot_threshold", MIN_EAGER, MAX_EAGER),
    )
    check_order(turns)
    return turns


def _number(values: Values, name: str, low: float, high: float) -> float | None:
    value = q.one(values, name)
    if value is None:
        return None
    if not _NUMBER.fullmatch(value) or not low <= float(value) <= high:
        raise CallerError(f"`{name}` must be a number from {low} to {high}.", param=name)
    return float(value)
