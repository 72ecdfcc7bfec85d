"""What a call needs of its engine, against what that can do."""

from dataclasses import replace

import pytest

from antiphon.core.capabilities import EVERYTHING, Ability, Incapable, settle
from antiphon.core.specs import (
    Format,
    GenerateSpec,
    Image,
    Message,
    Role,
    Sampling,
    Shape,
    Tool,
    ToolChoice,
    ToolMode,
)

HI = (Message(Role.USER, "Hi"),)
PLAIN = GenerateSpec("m", HI)
TOOLS = (Tool("f"),)
SEEN = (Message(Role.USER, "a", parts=("a", Image("data:,", param="messages[0].content[1].image_url"))),)


def sampled(**fields: object) -> GenerateSpec:
    return replace(PLAIN, sampling=Sampling(**fields))  # type: ignore[arg-type]


# A call for each ability that cannot be done without it.
NEEDING = {
    Ability.RAW_TEXT: replace(PLAIN, prompt="Once"),
    Ability.CHOICES: replace(PLAIN, choices=2),
    Ability.IMAGES: replace(PLAIN, prompt=SEEN),
    Ability.TOOL_CHOICE: replace(PLAIN, tools=TOOLS, tool_choice=ToolChoice(ToolMode.REQUIRED)),
    Ability.ONE_TOOL_CALL: replace(PLAIN, tools=TOOLS, parallel_tool_calls=False),
    Ability.JSON_OUTPUT: replace(PLAIN, format=Format(Shape.JSON, param="response_format")),
    Ability.CHOICE_OUTPUT: replace(PLAIN, format=Format(Shape.CHOICE, "[]")),
    Ability.REGEX_OUTPUT: replace(PLAIN, format=Format(Shape.REGEX, "a+", param="guided_regex")),
    Ability.GRAMMAR_OUTPUT: replace(PLAIN, format=Format(Shape.GRAMMAR, "root ::= x")),
    Ability.SEED: sampled(seed=0),
    Ability.LOGPROBS: sampled(logprobs=True),
    Ability.TOP_LOGPROBS: sampled(logprobs=True, top_logprobs=1),
    Ability.LOGIT_BIAS: sampled(logit_bias=(("1", 1.0),)),
    Ability.TOP_K: sampled(top_k=1),
    Ability.MIN_P: sampled(min_p=0.1),
    Ability.REPETITION_PENALTY: sampled(repetition_penalty=1.1),
    Ability.MIN_TOKENS: sampled(min_tokens=1),
    Ability.IGNORE_EOS: sampled(ignore_eos=True),
    Ability.STOP_TOKENS: sampled(stop_token_ids=(1,)),
    Ability.STOP_IN_OUTPUT: sampled(stop_in_output=True),
    Ability.SPECIAL_TOKENS: sampled(special_tokens=True),
    Ability.BAD_WORDS: sampled(bad_words=("x",)),
    Ability.ALLOWED_TOKENS: sampled(allowed_token_ids=(1,)),
    Ability.TEMPLATE_ARGUMENTS: replace(PLAIN, template_arguments="{}"),
}
DISPENSABLE = {Ability.REASONING_EFFORT: ("reasoning_effort", "low"), Ability.VERBOSITY: ("verbosity", "low")}


def test_every_ability_is_known_here() -> None:
    assert NEEDING.keys() | DISPENSABLE.keys() == EVERYTHING


@pytest.mark.parametrize("ability", NEEDING)
def test_what_needs_an_ability_is_refused_without_it(ability: Ability) -> None:
    spec = NEEDING[ability]
    assert settle(spec, EVERYTHING) == (spec, frozenset())
    with pytest.raises(Incapable) as refused:
        settle(spec, EVERYTHING - {ability})
    assert (refused.value.ability, refused.value.status, refused.value.code) == (ability, 400, "unsupported_parameter")
    assert refused.value.param is not None


def test_it_says_where_the_caller_asked_for_it() -> None:
    for ability, param in [
        (Ability.IMAGES, "messages[0].content[1].image_url"),
        (Ability.REGEX_OUTPUT, "guided_regex"),
    ]:
        with pytest.raises(Incapable) as refused:
            settle(NEEDING[ability], frozenset())
        assert refused.value.param == param


@pytest.mark.parametrize("ability", DISPENSABLE)
def test_what_asks_for_quality_is_left_out(ability: Ability) -> None:
    field, value = DISPENSABLE[ability]
    spec = replace(PLAIN, **{field: value})  # type: ignore[arg-type]
    assert settle(spec, EVERYTHING) == (spec, frozenset())
    assert settle(spec, EVERYTHING - {ability}) == (PLAIN, {ability})


def test_what_is_done_anyway_has_its_effect() -> None:
    spec = replace(PLAIN, reasoning_effort="none", verbosity="medium")
    assert settle(spec, frozenset()) == (PLAIN, frozenset())


@pytest.mark.parametrize(
    "spec",
    [
        PLAIN,
        replace(PLAIN, tools=TOOLS),
        replace(PLAIN, tools=TOOLS, tool_choice=ToolChoice(ToolMode.NONE)),
        replace(PLAIN, parallel_tool_calls=False),
        sampled(temperature=0.5, top_p=0.5, stop=("x",), max_tokens=5, presence_penalty=1.0, frequency_penalty=1.0),
        sampled(top_k=0, min_p=0.0, repetition_penalty=1.0),
    ],
)
def test_what_any_engine_can_do(spec: GenerateSpec) -> None:
    assert settle(spec, frozenset()) == (spec, frozenset())
