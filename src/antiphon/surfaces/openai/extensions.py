"""Parameters of open engines beyond OpenAI's API, by vLLM's names; load tools and clients of open models send them. An
engine without a parameter refuses it. A value that changes nothing is always accepted, and so is null.
"""

from typing import Annotated, Any

from msgspec import Meta, Struct, json

from antiphon.core.errors import CallerError, UnsupportedParameter
from antiphon.core.specs import Format, Shape
from antiphon.surfaces.openai.generation import NOT_JSON, Object, json_text, reader, refuser

MAX_CHOICES = 512
MAX_WORDS = 256
MAX_TOKENS = 4096
MAX_CHOICE_CHARS = 1024


class StructuredOutputs(Struct, frozen=True, forbid_unknown_fields=True):
    """The constraint of the output, by one of these fields."""

    json: str | Object | None = None
    json_object: bool | None = None
    choice: list[str] | None = None
    regex: str | None = None
    grammar: str | None = None
    structural_tag: Any = None
    disable_any_whitespace: bool | None = None
    disable_additional_properties: bool | None = None
    disable_fallback: bool | None = None
    whitespace_pattern: str | None = None


_Token = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Tokens = Annotated[list[_Token], Meta(max_length=MAX_TOKENS)]


class Extensions(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Fields of a request. The second half is accepted if its value changes nothing: `_NEUTRAL`."""

    top_k: Annotated[int, Meta(ge=-1, le=2**31 - 1)] | None = None
    min_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    repetition_penalty: Annotated[float, Meta(gt=0, le=2)] | None = None
    min_tokens: Annotated[int, Meta(ge=0, le=2**31 - 1)] | None = None
    ignore_eos: bool | None = None
    structured_outputs: StructuredOutputs | None = None
    guided_json: str | Object | None = None
    guided_choice: list[str] | None = None
    guided_regex: str | None = None
    guided_grammar: str | None = None
    request_id: str | None = None
    allowed_token_ids: Tokens | None = None
    bad_words: Annotated[list[Annotated[str, Meta(min_length=1)]], Meta(max_length=MAX_WORDS)] | None = None
    include_stop_str_in_output: bool | None = None
    skip_special_tokens: bool | None = None
    stop_token_ids: Tokens | None = None

    add_special_tokens: Any = None
    guided_decoding_backend: Any = None
    guided_whitespace_pattern: Any = None
    length_penalty: Any = None
    priority: Any = None
    prompt_logprobs: Any = None
    return_token_ids: Any = None
    return_tokens_as_token_ids: Any = None
    spaces_between_special_tokens: Any = None
    truncate_prompt_tokens: Any = None
    use_beam_search: Any = None


_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "add_special_tokens": (True, False),  # the prompt has what its model's template says, or a raw text its own
    "guided_decoding_backend": ("auto",),
    "guided_whitespace_pattern": (),
    "length_penalty": (1,),
    "priority": (0,),
    "prompt_logprobs": (),
    "return_token_ids": (False,),
    "return_tokens_as_token_ids": (False,),
    "spaces_between_special_tokens": (True, False),
    "truncate_prompt_tokens": (),
    "use_beam_search": (False,),
}
_of_others = reader(_NEUTRAL)
_plain = reader(("json", "json_object", "choice", "regex", "grammar"))
_guided = reader(("guided_json", "guided_choice", "guided_regex", "guided_grammar"))
_refuse_unsupported = refuser(
    {
        "structural_tag": "use 'json', 'choice', 'regex' or 'grammar'",
        "whitespace_pattern": "a schema does not say what space there is",
    }
)
# Options that are on or off. A server here has no other way of enforcing an output, to which it could fall back.
_OFF = ("disable_any_whitespace", "disable_additional_properties")


def sampling(request: Extensions) -> dict[str, Any]:
    """Return the fields of a `core.specs.Sampling`. Raises `UnsupportedParameter`."""
    for name, value in _of_others(request).items():
        if value not in _NEUTRAL[name]:
            raise UnsupportedParameter(f"'{name}' is not supported with this value.", param=name)
    return {
        "top_k": None if request.top_k is None else max(request.top_k, 0),
        "min_p": request.min_p,
        "repetition_penalty": request.repetition_penalty,
        "min_tokens": request.min_tokens or 0,
        "ignore_eos": request.ignore_eos is True,
        "stop_token_ids": tuple(request.stop_token_ids or ()),
        "stop_in_output": request.include_stop_str_in_output is True,
        "special_tokens": request.skip_special_tokens is False,
        "bad_words": tuple(request.bad_words or ()),
        "allowed_token_ids": tuple(request.allowed_token_ids or ()),
    }


def structured(request: Extensions, format: Format) -> Format:
    """Return the output's format; `format` is that of OpenAI's own parameter. Raises `CallerError`."""
    constraints = [(name.removeprefix("guided_"), value) for name, value in _guided(request).items()]
    options = request.structured_outputs
    if options is not None:
        _refuse_unsupported(options)
        for option in _OFF:
            if getattr(options, option):
                raise UnsupportedParameter(f"'{option}' is not supported.", param=option)
        constraints = [(name, value) for name, value in _plain(options).items() if value is not False] + constraints
    if not constraints:
        return format
    param = "structured_outputs" if request.structured_outputs else f"guided_{constraints[0][0]}"
    if len(constraints) > 1 or format.shape is not Shape.TEXT:
        raise CallerError("Only one output constraint is allowed.", param=param)
    name, value = constraints[0]
    match name:
        case "json":
            return Format(Shape.SCHEMA, json_text(_schema(value, param)), "output", param=param)
        case "json_object":
            return Format(Shape.JSON, param=param)
        case "choice":
            if not 0 < len(value) <= MAX_CHOICES or not all(0 < len(each) <= MAX_CHOICE_CHARS for each in value):
                bounds = f"1 to {MAX_CHOICES} texts of 1 to {MAX_CHOICE_CHARS} characters"
                raise CallerError(f"A choice has {bounds}.", param=param)
            return Format(Shape.CHOICE, json.encode(value).decode(), param=param)
    if not value:
        raise CallerError("The constraint is empty.", param=param)
    return Format(Shape(name), value, param=param)


def _schema(schema: str | Object, param: str) -> Object:
    """Return a schema, which may come as a text. As JSON it is part of answers and of requests to engines, so a text
    that is more, or less, must not get there. Raises `CallerError`.
    """
    if not isinstance(schema, str):
        return schema
    try:
        return json.decode(schema, type=Object)
    except NOT_JSON:
        raise CallerError("The schema is not valid: it is no JSON object.", param=param) from None
