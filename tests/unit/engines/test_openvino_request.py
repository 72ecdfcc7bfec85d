"""What the pipeline is asked."""

import json
from typing import Any

import pytest

from antiphon.core.capabilities import Ability
from antiphon.core.errors import CallerError, ContextLengthExceeded, UnsupportedParameter
from antiphon.core.specs import (
    Format,
    GenerateSpec,
    Message,
    Role,
    Sampling,
    Shape,
    Tool,
    ToolCall,
    ToolChoice,
    ToolMode,
)
from antiphon.engines.openvino.messages import Generate, Model
from antiphon.engines.openvino.request import ABILITIES, translated
from antiphon.engines.openvino.schema import MAX_PARTS, MAX_REQUEST_PARTS

PLAIN = Model([b"a"], 100, 8, False, None, None)
KNOWING = Model([b"a"], 100, 8, True, 0.6, 0.9)
WEATHER = Tool("weather", "Tells it.", '{"type": "object", "properties": {"city": {"type": "string"}}}')
TIME = Tool("time")
ASKED = (Message(Role.USER, "Hi"),)


def asked(model: Model = PLAIN, prompt: tuple[Message, ...] | str = ASKED, **fields: Any) -> Generate:
    return translated(GenerateSpec("m", prompt, **fields), 7, model, 2048, 99)


def grammar(request: Generate) -> dict[str, Any]:
    tag = json.loads(request.grammar)
    assert tag["type"] == "structural_tag"
    form: dict[str, Any] = tag["format"]
    return form


# -- the conversation --------------------------------------------------------------------------------------------------


def test_a_raw_text_stays_one() -> None:
    assert asked(prompt="Once").prompt == "Once"


def test_tools_stand_in_the_system_prompt_of_a_model_that_knows_none() -> None:
    messages = asked(tools=(WEATHER,), prompt=(Message(Role.SYSTEM, "Be brief."), *ASKED)).prompt
    assert isinstance(messages, list)
    system, user = messages
    assert system["content"].startswith("Be brief.\n\n")
    assert '"name": "weather"' in system["content"]
    assert user == {"role": "user", "content": "Hi"}


def test_a_system_prompt_is_made_for_tools() -> None:
    messages = asked(tools=(WEATHER,)).prompt
    assert isinstance(messages, list)
    assert [message["role"] for message in messages] == ["system", "user"]


def test_no_tools_are_told_of_where_none_may_be_called() -> None:
    request = asked(tools=(WEATHER,), tool_choice=ToolChoice(ToolMode.NONE))
    assert request.prompt == [{"role": "user", "content": "Hi"}]
    assert request.grammar == ""
    assert request.tools == []


ROUND = (
    Message(Role.USER, "Weather?"),
    Message(Role.ASSISTANT, "", tool_calls=(ToolCall("call_1", "weather", '{"city": "Paris"}'),)),
    Message(Role.TOOL, "Rain.", tool_call_id="call_1"),
)


def test_calls_and_their_answers_are_told_in_text() -> None:
    messages = asked(prompt=ROUND).prompt
    assert isinstance(messages, list)
    call = '<tool_call>\n{"name": "weather", "arguments": {"city": "Paris"}}\n</tool_call>'
    assert messages[1] == {"role": "assistant", "content": call}
    assert messages[2] == {"role": "user", "content": "<tool_response>\nRain.\n</tool_response>"}


def test_a_template_that_knows_tools_is_given_them() -> None:
    request = asked(KNOWING, ROUND, tools=(WEATHER,))
    messages = request.prompt
    assert isinstance(messages, list)
    assert [message["role"] for message in messages] == ["user", "assistant", "tool"]
    assert messages[1]["tool_calls"][0]["function"] == {"name": "weather", "arguments": {"city": "Paris"}}
    assert request.tools[0]["function"]["name"] == "weather"


@pytest.mark.parametrize("text", ["x" * 800, "é" * 400])
def test_a_text_that_cannot_fit_is_not_even_split(text: str) -> None:
    asked(prompt=text[:-1])
    with pytest.raises(ContextLengthExceeded) as refused:
        asked(prompt=text)
    assert refused.value.param == "prompt"
    assert "maximum context length is 100 tokens" in refused.value.message
    with pytest.raises(ContextLengthExceeded):
        asked(prompt=(*ASKED, Message(Role.USER, text)))
    with pytest.raises(ContextLengthExceeded):
        asked(tools=(Tool("time", text),))
    asked(tools=(Tool("time", text),), tool_choice=ToolChoice(ToolMode.NONE))


def test_no_message_is_no_conversation() -> None:
    with pytest.raises(CallerError):
        asked(prompt=())


# -- sampling ----------------------------------------------------------------------------------------------------------


def sampled(model: Model = PLAIN, **fields: Any) -> dict[str, Any]:
    return asked(model, sampling=Sampling(**fields)).sampling


def test_a_temperature_of_zero_is_greedy() -> None:
    assert "do_sample" not in sampled(temperature=0)
    assert "do_sample" not in sampled(temperature=0.001)
    assert "do_sample" not in sampled(top_p=0)


def test_what_is_not_said_is_as_the_makers_advise() -> None:
    assert sampled()["temperature"] == 1.0
    assert sampled(KNOWING)["temperature"] == 0.6
    assert sampled(KNOWING)["top_p"] == 0.9
    assert sampled(KNOWING, temperature=0.3, top_p=0.5)["temperature"] == 0.3


ADVISED = Model([b"a"], 100, 8, True, 0.6, 0.9, 0.2)


def test_advice_against_repetition_is_for_callers_who_say_nothing() -> None:
    assert sampled(ADVISED, max_tokens=5, seed=1, stop=("a",))["frequency_penalty"] == 0.2
    for said in ("temperature", "top_p", "frequency_penalty", "presence_penalty", "min_p"):
        assert sampled(ADVISED, **{said: 0.0})["frequency_penalty"] == 0.0
    assert sampled(ADVISED, repetition_penalty=1.0)["frequency_penalty"] == 0.0
    for form in ({"tools": (WEATHER,)}, {"format": Format(Shape.JSON)}, {"prompt": "Once"}):
        assert asked(ADVISED, **form).sampling["frequency_penalty"] == 0.0
    assert sampled(PLAIN)["frequency_penalty"] == 0.0


def test_what_open_engines_know_is_passed_on() -> None:
    fields = sampled(top_k=5, min_p=0.1, repetition_penalty=1.1, min_tokens=3, ignore_eos=True)
    told = {"top_k": 5, "min_p": 0.1, "repetition_penalty": 1.1, "min_new_tokens": 3, "ignore_eos": True}
    assert fields.items() >= told.items()
    assert "top_k" not in sampled(top_k=0)


def test_the_template_is_given_its_arguments_but_for_the_servers_own() -> None:
    assert asked(template_arguments='{"enable_thinking":false}').template_arguments == {"enable_thinking": False}
    with pytest.raises(UnsupportedParameter):
        asked(template_arguments='{"messages":[]}')


def test_a_choice_is_a_grammar_of_its_texts() -> None:
    grammar = json.loads(asked(format=Format(Shape.CHOICE, '["yes","a \\"b\\""]')).grammar)
    assert grammar["format"] == {"type": "grammar", "grammar": 'root ::= "yes" | "a \\"b\\""'}


def test_penalties_and_scores_are_passed_on() -> None:
    fields = sampled(presence_penalty=0.5, frequency_penalty=-1.0, logprobs=True)
    assert (fields["presence_penalty"], fields["frequency_penalty"], fields["logprobs"]) == (0.5, -1.0, 1)
    assert "logprobs" not in sampled()


def test_each_choice_has_a_seed_of_its_own() -> None:
    assert asked(choices=3, sampling=Sampling(seed=5)).seeds == [5, 6, 7]
    assert asked(choices=2).seeds == [99, 100]
    assert asked(sampling=Sampling(seed=-1)).seeds == [2**32 - 1]


def test_an_output_is_bounded() -> None:
    assert asked(sampling=Sampling(max_tokens=5)).max_tokens == 5
    assert asked().max_tokens == 2048


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"temperature": 2.5}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"top_p": 1.1}, "top_p"),
        ({"presence_penalty": 3.0}, "presence_penalty"),
        ({"frequency_penalty": -3.0}, "frequency_penalty"),
        ({"max_tokens": 0}, "max_tokens"),
    ],
)
def test_what_is_out_of_bounds_is_refused(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(CallerError) as refused:
        sampled(**fields)
    assert refused.value.param == param


def test_what_the_pipeline_cannot_do_is_not_among_its_abilities() -> None:
    cannot = {Ability.IMAGES, Ability.LOGIT_BIAS, Ability.TOP_LOGPROBS, Ability.REGEX_OUTPUT, Ability.GRAMMAR_OUTPUT}
    assert not cannot & ABILITIES
    assert not {Ability.REASONING_EFFORT, Ability.VERBOSITY} & ABILITIES


@pytest.mark.parametrize("choices", [0, 129])
def test_too_many_choices_are_refused(choices: int) -> None:
    with pytest.raises(CallerError) as refused:
        asked(choices=choices)
    assert refused.value.param == "n"


# -- the grammar -------------------------------------------------------------------------------------------------------


def test_any_text_has_no_grammar() -> None:
    assert asked().grammar == ""


def test_json_is_an_object() -> None:
    form = grammar(asked(format=Format(Shape.JSON)))
    assert form["type"] == "grammar"
    assert form["grammar"].startswith('root ::= "{" ws (pair')


def test_a_schema_is_enforced() -> None:
    schema = '{"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}'
    form = grammar(asked(format=Format(Shape.SCHEMA, schema)))
    assert '"\\"a\\"" ":" ws' in form["grammar"]


def test_a_schema_that_is_none_is_refused() -> None:
    with pytest.raises(CallerError) as refused:
        asked(format=Format(Shape.SCHEMA, "{"))
    assert refused.value.param == "response_format"


def test_a_call_that_is_begun_is_finished() -> None:
    form = grammar(asked(tools=(WEATHER, TIME)))
    assert form["type"] == "triggered_tags"
    assert form["triggers"] == ["<tool_call>"]
    assert form["stop_after_first"] is False
    assert [tag["begin"] for tag in form["tags"]] == [
        '<tool_call>\n{"name": "weather", "arguments": ',
        '<tool_call>\n{"name": "time", "arguments": ',
    ]
    assert '"\\"city\\"" ":" ws' in form["tags"][0]["content"]["grammar"]


def test_a_required_call_is_all_there_is() -> None:
    form = grammar(asked(tools=(WEATHER, TIME), tool_choice=ToolChoice(ToolMode.REQUIRED), parallel_tool_calls=False))
    assert form["type"] == "tags_with_separator"
    assert form["at_least_one"]
    assert form["stop_after_first"]
    assert len(form["tags"]) == 2


def test_a_named_tool_is_called_once() -> None:
    form = grammar(asked(tools=(WEATHER, TIME), tool_choice=ToolChoice(ToolMode.REQUIRED, "time")))
    assert [tag["begin"] for tag in form["tags"]] == ['<tool_call>\n{"name": "time", "arguments": ']
    assert form["stop_after_first"]


def test_with_a_schema_and_tools_it_is_the_one_or_the_other() -> None:
    form = grammar(asked(tools=(WEATHER,), format=Format(Shape.JSON)))
    assert form["type"] == "or"
    assert [element["type"] for element in form["elements"]] == ["grammar", "tags_with_separator"]


@pytest.mark.parametrize(
    ("tools", "choice"),
    [((), ToolChoice(ToolMode.REQUIRED)), ((WEATHER,), ToolChoice(ToolMode.REQUIRED, "nothing"))],
)
def test_a_tool_that_is_not_there_cannot_be_called(tools: tuple[Tool, ...], choice: ToolChoice) -> None:
    with pytest.raises(CallerError) as refused:
        asked(tools=tools, tool_choice=choice)
    assert refused.value.param == "tool_choice"


# -- what no message or template can hold ------------------------------------------------------------------------------


@pytest.mark.parametrize("model", [PLAIN, KNOWING])
@pytest.mark.parametrize(
    "value", ["18446744073709551616", "-9223372036854775809", "1" + "0" * 5000, "1e999", "[" * 80 + "]" * 80]
)
def test_parameters_of_a_tool_that_cannot_be_told_are_the_callers_fault(model: Model, value: str) -> None:
    tool = Tool("f", "", '{"type": "object", "properties": {"a": {"default": ' + value + "}}}")
    with pytest.raises(CallerError) as refused:
        asked(model, tools=(tool,))
    assert refused.value.param == "tools"


@pytest.mark.parametrize("value", ["18446744073709551616", "1" + "0" * 5000, "NaN", "-1e999", "[" * 3000, "{"])
def test_arguments_that_cannot_be_told_stay_text(value: str) -> None:
    called = Message(Role.ASSISTANT, "", tool_calls=(ToolCall("c", "f", value),))
    messages = asked(KNOWING, prompt=(*ASKED, called)).prompt
    assert isinstance(messages, list)
    assert messages[1]["tool_calls"][0]["function"]["arguments"] == value


def test_the_schemas_of_all_tools_are_bounded_together() -> None:
    properties = {f"p{n}": {"type": "string"} for n in range(MAX_PARTS - 1)}
    large = json.dumps({"type": "object", "properties": properties})
    fitting = MAX_REQUEST_PARTS // MAX_PARTS
    named = [f"tool{n}" for n in range(fitting + 1)]
    assert asked(tools=tuple(Tool(name, "", large, strict=True) for name in named[:fitting])).grammar
    with pytest.raises(CallerError, match="with the others") as refused:
        asked(tools=tuple(Tool(name, "", large, strict=True) for name in named))
    assert refused.value.param == "tools"
    tags = grammar(asked(tools=tuple(Tool(name, "", large, strict=False) for name in named)))["tags"]
    *whole, last = (tag["content"]["grammar"] for tag in tags)
    assert all("p498" in one for one in whole)
    assert "p498" not in last
