"""The language engine with a real model. One process for all of these tests: loading takes seconds."""

import asyncio
import json
import re
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import openvino_genai as genai
import pytest
import pytest_asyncio

from antiphon.core.errors import CallerError, ContextLengthExceeded, EngineError
from antiphon.core.events import (
    ChoiceEnded,
    FinishReason,
    Generated,
    ScoredToken,
    TextDelta,
    TokenUsage,
    ToolCallDelta,
    ToolCallStarted,
)
from antiphon.core.ports import EngineCall
from antiphon.core.specs import Format, GenerateSpec, Message, Role, Sampling, Shape, Tool, ToolChoice, ToolMode
from antiphon.engines.openvino import OpenVinoGenerator, OpenVinoSettings
from antiphon.engines.openvino.converted import converted
from antiphon.engines.openvino.gguf import model_path
from antiphon.engines.openvino.schema import MAX_LENGTH

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.xdist_group("openvino")]

GREEDY = Sampling(max_tokens=24, temperature=0)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine(smollm2: Path, kept_in: Path) -> AsyncIterator[OpenVinoGenerator]:
    """As configured by default."""
    engine = await OpenVinoGenerator.start(smollm2, OpenVinoSettings(weights="int8"), "f1", kept_in)
    yield engine
    await engine.close()


def chat(text: str, sampling: Sampling = GREEDY, **fields: Any) -> GenerateSpec:
    return GenerateSpec("m", (Message(Role.USER, text),), sampling=sampling, **fields)


class Answer:
    """All that came of a call."""

    def __init__(self, events: list[Generated | TokenUsage]) -> None:
        usage = events[-1]
        assert isinstance(usage, TokenUsage)
        self.usage = usage
        self.texts: dict[int, str] = {}
        self.calls: list[tuple[str, str]] = []
        self.reasons: dict[int, FinishReason] = {}
        self.scored: list[ScoredToken] = []
        counted = 0
        for event in events:
            match event:
                case TextDelta():
                    self.texts[event.choice] = self.texts.get(event.choice, "") + event.text
                    self.scored += event.scored
                    counted += event.tokens
                case ToolCallStarted():
                    self.calls.append((event.name, ""))
                case ToolCallDelta():
                    name, arguments = self.calls[event.index]
                    self.calls[event.index] = (name, arguments + event.arguments)
                    counted += event.tokens
                case ChoiceEnded():
                    self.reasons[event.choice] = event.reason
        assert counted == usage.output

    @property
    def text(self) -> str:
        return self.texts[0]


async def ask(engine: OpenVinoGenerator, spec: GenerateSpec) -> Answer:
    return Answer([event async for batch in engine.generate(spec, EngineCall("call")) for event in batch])


async def idle(engine: OpenVinoGenerator) -> None:
    """Until the pipeline has said that it holds nothing."""
    async with asyncio.timeout(30):
        while engine.stats().cache_used_bytes:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


# -- text --------------------------------------------------------------------------------------------------------------


async def test_greedy_text_is_the_same_each_time(engine: OpenVinoGenerator) -> None:
    spec = chat("Name the capital of France.")
    await ask(engine, spec)  # from here on, its prompt comes from the prefix cache
    first, second = await ask(engine, spec), await ask(engine, spec)
    assert "Paris" in first.text
    assert first.text == second.text
    assert first.usage == second.usage


async def test_a_seed_repeats_and_another_does_not(engine: OpenVinoGenerator) -> None:
    spec = chat("Tell me a story.", Sampling(max_tokens=24, temperature=1.0, seed=11))
    await ask(engine, spec)
    first, again = await ask(engine, spec), await ask(engine, spec)
    other = await ask(engine, replace(spec, sampling=replace(spec.sampling, seed=12)))
    assert first.text == again.text != other.text


async def test_a_raw_text_goes_on(engine: OpenVinoGenerator) -> None:
    answer = await ask(engine, GenerateSpec("m", "One, two, three, four,", sampling=GREEDY))
    assert "eight, nine, ten" in answer.text
    assert answer.reasons == {0: FinishReason.LENGTH}
    assert answer.usage.output == 24


async def test_the_model_ends_by_itself(engine: OpenVinoGenerator) -> None:
    answer = await ask(engine, chat("Say hello.", Sampling(max_tokens=200, temperature=0)))
    assert answer.reasons == {0: FinishReason.STOP}
    assert 0 < answer.usage.output < 200


async def test_a_stop_text_ends_it(engine: OpenVinoGenerator) -> None:
    spec = GenerateSpec("m", "One, two, three, four,", sampling=replace(GREEDY, stop=("nine",)))
    answer = await ask(engine, spec)
    assert answer.text.strip() == "five, six, seven, eight,"
    assert answer.reasons == {0: FinishReason.STOP}
    await idle(engine)


async def test_choices_differ_and_share_their_prompt(engine: OpenVinoGenerator) -> None:
    answer = await ask(engine, chat("Tell me a story.", Sampling(max_tokens=16, seed=3), choices=4))
    alone = await ask(engine, chat("Tell me a story.", Sampling(max_tokens=16, seed=3)))
    assert set(answer.reasons) == {0, 1, 2, 3}
    assert len(set(answer.texts.values())) == 4
    assert answer.usage.input == alone.usage.input
    assert answer.usage.output == 64


async def test_each_token_has_its_probability(engine: OpenVinoGenerator) -> None:
    answer = await ask(engine, chat("Name the capital of France.", replace(GREEDY, logprobs=True)))
    assert "".join(token.text for token in answer.scored) == answer.text
    assert all(-20 < token.logprob < 0 for token in answer.scored)


async def test_a_repetition_can_be_punished(engine: OpenVinoGenerator) -> None:
    text = "Row, row, row, row, row, row,"
    plain = await ask(engine, GenerateSpec("m", text, sampling=GREEDY))
    punished = await ask(engine, GenerateSpec("m", text, sampling=replace(GREEDY, frequency_penalty=2.0)))
    assert most_repeated(punished.text) < most_repeated(plain.text)


def most_repeated(text: str) -> int:
    return max(Counter(text.split()).values())


async def test_a_prompt_that_came_before_is_cached(engine: OpenVinoGenerator) -> None:
    spec = chat("Consider this: " + "the cat sat on the mat, and the dog sat on the log. " * 8)
    first, second = await ask(engine, spec), await ask(engine, spec)
    assert second.usage.input == first.usage.input
    assert second.usage.cached > first.usage.cached
    assert second.usage.input - 64 <= second.usage.cached < second.usage.input


async def test_a_prompt_that_is_too_long_is_refused(engine: OpenVinoGenerator) -> None:
    with pytest.raises(ContextLengthExceeded):
        await ask(engine, GenerateSpec("m", "a b c d " * 4000, sampling=GREEDY))


# -- grammars ----------------------------------------------------------------------------------------------------------

SCHEMAS: list[dict[str, Any]] = [
    {
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 20},
            "age": {"type": "integer", "minimum": 0, "maximum": 120},
        },
        "required": ["name", "age"],
    },
    {
        "type": "object",
        "properties": {
            "tags": {"type": "array", "items": {"enum": ["red", "green", "blue"]}, "minItems": 1, "maxItems": 3},
            "code": {"type": "string", "pattern": "^[A-Z]{3}-[0-9]{2}$"},
            "when": {"type": "string", "format": "date"},
        },
        "required": ["tags", "code", "when"],
        "additionalProperties": False,
    },
    {
        "$ref": "#/$defs/Pair",
        "$defs": {
            "Pair": {
                "type": "object",
                "properties": {
                    "left": {"anyOf": [{"type": "number", "minimum": 0.5, "maximum": 9}, {"type": "null"}]},
                    "right": {"oneOf": [{"type": "boolean"}, {"$ref": "#/$defs/Word"}]},
                },
                "required": ["left", "right"],
            },
            "Word": {"type": "string", "minLength": 2, "maxLength": 8},
        },
    },
]


@pytest.mark.parametrize("schema", SCHEMAS)
@pytest.mark.parametrize("temperature", [0, pytest.param(0.8, marks=pytest.mark.long)])
async def test_what_a_schema_asks_for_comes(
    engine: OpenVinoGenerator, schema: dict[str, Any], temperature: float
) -> None:
    subjects = ("a person", "a cat", "the sea", "nothing at all", "JSON")
    sampling = Sampling(max_tokens=300, temperature=temperature, seed=1)
    form = Format(Shape.SCHEMA, json.dumps(schema))
    specs = [chat(f"Describe {subject} in JSON.", sampling, format=form) for subject in subjects]
    answers = await asyncio.gather(*(ask(engine, spec) for spec in specs))
    whole = [answer for answer in answers if answer.reasons == {0: FinishReason.STOP}]
    assert len(whole) >= 4  # a text may go on for ever
    for answer in whole:
        jsonschema.validate(json.loads(answer.text), schema)


async def test_any_json_is_an_object(engine: OpenVinoGenerator) -> None:
    sampling = Sampling(max_tokens=60, temperature=0, stop=("}",))
    for text in ("A person as JSON", "Say hi.", "1+1"):
        answer = await ask(engine, chat(text, sampling, format=Format(Shape.JSON)))
        assert answer.text.startswith("{")
        if answer.reasons[0] is FinishReason.STOP:
            # Stopped at the first brace that closes, as many are missing as are open outside of strings.
            opened = re.sub(r'"(\\.|[^"\\])*"', "", answer.text).count("{")
            assert isinstance(json.loads(answer.text + "}" * opened), dict)


@pytest.mark.parametrize("schema", ['{"type": "nonsense"}', '{"not": {}}', "{", "[]", '{"$ref": "#/$defs/a"}'])
async def test_a_schema_that_cannot_be_enforced_harms_nobody(engine: OpenVinoGenerator, schema: str) -> None:
    beside = asyncio.create_task(ask(engine, chat("Say hello.")))
    with pytest.raises(CallerError) as refused:
        await ask(engine, chat("x", format=Format(Shape.SCHEMA, schema)))
    assert refused.value.param == "response_format"
    assert (await beside).text


async def test_a_grammar_the_compiler_refuses_harms_nobody(
    engine: OpenVinoGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that got past our own check of schemas."""
    monkeypatch.setattr("antiphon.engines.openvino.request.enforceable", lambda schema, *_: json.loads(schema))
    beside = asyncio.create_task(ask(engine, chat("Say hello.")))
    with pytest.raises(CallerError) as refused:
        await ask(engine, chat("x", format=Format(Shape.SCHEMA, '{"type": "nonsense"}')))
    assert refused.value.param == "response_format"
    assert (await beside).text
    assert engine.stats().restarts == 0


def unseen(name: str, length: int = MAX_LENGTH) -> Format:
    """A schema that takes the compiler a while, if no other test has this name."""
    properties = {name: {"type": "string", "maxLength": length}}
    return Format(Shape.SCHEMA, json.dumps({"type": "object", "properties": properties, "required": [name]}))


async def test_others_go_on_while_a_schema_compiles(engine: OpenVinoGenerator) -> None:
    """They waited for seconds; the schema's own caller, for those who were before it."""
    steps = 0

    async def beside() -> None:
        nonlocal steps
        spec = chat("Tell me a story.", Sampling(max_tokens=2000, temperature=0, ignore_eos=True))
        async for _ in engine.generate(spec, EngineCall("beside")):
            steps += 1

    others = asyncio.create_task(beside())
    async with asyncio.timeout(30):
        while steps < 3:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    shaped = engine.generate(chat("A name.", format=unseen("beside")), EngineCall("call"))
    before = steps
    await anext(shaped)  # it has begun
    assert steps - before >= 10
    assert not others.done()
    others.cancel()
    await shaped.aclose()
    await idle(engine)


async def test_a_schema_is_compiled_for_all_that_wait_for_it(engine: OpenVinoGenerator) -> None:
    """Also if who came with it first, or with another one that waits, has gone."""
    specs = [chat(f"Name {n}.", format=unseen("shared")) for n in range(3)]
    waiting = [asyncio.create_task(ask(engine, spec)) for spec in specs]
    gone = asyncio.create_task(ask(engine, chat("Gone.", format=unseen("gone"))))
    await asyncio.sleep(0.1)
    waiting[0].cancel()
    gone.cancel()
    after = await ask(engine, chat("Name 4.", format=unseen("after", 8)))
    for answer in (after, *await asyncio.gather(*waiting[1:])):
        assert answer.text.startswith("{")
    await idle(engine)


async def test_a_process_full_of_grammars_is_replaced_when_it_is_idle(smollm2: Path, kept_in: Path) -> None:
    """The compiler keeps all of them for ever."""
    settings = OpenVinoSettings(weights="int8", grammars_mb=1)
    engine = await OpenVinoGenerator.start(smollm2, settings, kept_in=kept_in)
    try:
        beside = asyncio.create_task(ask(engine, chat("Tell me a story.", Sampling(max_tokens=100, ignore_eos=True))))
        assert (await ask(engine, chat("A name.", format=unseen("kept", 64)))).text.startswith("{")
        assert (await beside).usage.output == 100  # nobody who is served loses anything
        async with asyncio.timeout(60):
            while not engine.stats().restarts or not engine.up:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        assert (await ask(engine, chat("A name.", format=unseen("kept", 8)))).text.startswith("{")
    finally:
        await engine.close()


# -- tools -------------------------------------------------------------------------------------------------------------

WEATHER = Tool(
    "get_weather",
    "The weather in a city.",
    '{"type": "object", "properties": {"city": {"type": "string"}, "far": {"type": "boolean"}}, "required": ["city"]}',
    strict=True,
)
CLOCK = Tool("get_time", "The time.", '{"type": "object", "properties": {}, "additionalProperties": false}')
ASKED = "What is the weather in Paris?"
LONG = Sampling(max_tokens=200, temperature=0)


async def test_a_required_call_keeps_to_its_schema(engine: OpenVinoGenerator) -> None:
    spec = chat(
        ASKED, LONG, tools=(WEATHER, CLOCK), tool_choice=ToolChoice(ToolMode.REQUIRED), parallel_tool_calls=False
    )
    answer = await ask(engine, spec)
    ((name, arguments),) = answer.calls
    tool = {tool.name: tool for tool in (WEATHER, CLOCK)}[name]
    jsonschema.validate(json.loads(arguments), json.loads(tool.parameters))
    assert answer.reasons == {0: FinishReason.TOOL_CALLS}
    assert not answer.texts.get(0)


async def test_a_named_tool_is_called(engine: OpenVinoGenerator) -> None:
    choice = ToolChoice(ToolMode.REQUIRED, "get_time")
    answer = await ask(engine, chat(ASKED, LONG, tools=(WEATHER, CLOCK), tool_choice=choice))
    assert [(name, json.loads(arguments)) for name, arguments in answer.calls] == [("get_time", {})]


async def test_several_calls_may_come(engine: OpenVinoGenerator) -> None:
    spec = chat(
        ASKED, Sampling(max_tokens=80, temperature=0), tools=(WEATHER,), tool_choice=ToolChoice(ToolMode.REQUIRED)
    )
    answer = await ask(engine, spec)
    assert answer.calls
    assert all(name == "get_weather" for name, _ in answer.calls)


async def test_a_model_may_answer_without_a_tool(engine: OpenVinoGenerator) -> None:
    answer = await ask(engine, chat(ASKED, GREEDY, tools=(WEATHER,)))
    assert answer.texts[0] or answer.calls
    none = await ask(engine, chat(ASKED, GREEDY, tools=(WEATHER,), tool_choice=ToolChoice(ToolMode.NONE)))
    assert not none.calls
    assert none.usage.input < answer.usage.input  # it was not even told of the tools


async def test_a_call_once_begun_is_finished(engine: OpenVinoGenerator) -> None:
    """With tools left to the model, which is led to begin one."""
    prompt = "<|im_start|>user\nWeather in Paris?<|im_end|>\n<|im_start|>assistant\nI call: <tool_call> or <tool"
    answer = await ask(engine, GenerateSpec("m", prompt, sampling=LONG, tools=(WEATHER,), parallel_tool_calls=False))
    for name, arguments in answer.calls:
        assert name == "get_weather"
        jsonschema.validate(json.loads(arguments), json.loads(WEATHER.parameters))


# -- many at once, and those who leave ---------------------------------------------------------------------------------


async def test_many_at_once(engine: OpenVinoGenerator) -> None:
    sampling = Sampling(max_tokens=8, temperature=0)
    answers = await asyncio.gather(*(ask(engine, chat(f"Say the number {n}.", sampling)) for n in range(40)))
    assert all(0 < answer.usage.output <= 8 for answer in answers)
    await idle(engine)


async def test_who_leaves_frees_the_cache(engine: OpenVinoGenerator) -> None:
    running = [
        engine.generate(chat(f"{n}: tell a long story.", Sampling(max_tokens=2000)), EngineCall("c")) for n in range(8)
    ]
    for events in running:
        await anext(events)
        await anext(events)
    assert engine.stats().running == 8
    assert engine.stats().cache_used_bytes > 0
    for events in running:
        await events.aclose()
    assert engine.stats().running == 0
    await idle(engine)


async def test_figures(engine: OpenVinoGenerator) -> None:
    stats = engine.stats()
    assert stats.cache_bytes <= 1 << 30
    assert 200 << 20 < stats.rss_bytes < 2 << 30


# -- other settings, and files that are no model -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param(OpenVinoSettings(prompt_lookup_tokens=3, kv_cache_precision="f16"), marks=pytest.mark.long),
        pytest.param(
            OpenVinoSettings(eviction_tokens=256, prefix_caching=False, split_fuse=False, max_batched_tokens=2048),
            marks=pytest.mark.long,
        ),
        pytest.param(
            OpenVinoSettings(weights="int8", kv_cache_precision="u8", prompt_lookup_tokens=3), marks=pytest.mark.long
        ),
        pytest.param(
            OpenVinoSettings(weights="int8", eviction_tokens=256, prefix_caching=False), marks=pytest.mark.long
        ),
    ],
)
async def test_settings_work_together_with_what_callers_ask(
    smollm2: Path, kept_in: Path, settings: OpenVinoSettings
) -> None:
    engine = await OpenVinoGenerator.start(smollm2, settings, kept_in=kept_in)
    try:
        schema = json.dumps(SCHEMAS[0])
        shaped = chat("A person as JSON.", Sampling(max_tokens=200, temperature=0), format=Format(Shape.SCHEMA, schema))
        long = Sampling(max_tokens=400, temperature=0)
        answers = await asyncio.gather(
            ask(engine, shaped),
            ask(engine, GenerateSpec("m", "One, two, three, four,", sampling=replace(GREEDY, stop=("nine",)))),
            ask(engine, chat("Name the capital of France.", replace(GREEDY, logprobs=True))),
            ask(engine, GenerateSpec("m", "la la la la " * 40, sampling=long)),
            ask(engine, chat("Tell me a story.", Sampling(max_tokens=40, seed=1), choices=2)),
        )
        jsonschema.validate(json.loads(answers[0].text), SCHEMAS[0])
        assert answers[1].text.strip().endswith("seven, eight,")
        assert "Paris" in answers[2].text
        assert answers[3].usage.output == 400 or answers[3].reasons[0] is FinishReason.STOP
        assert engine.stats().restarts == 0
    finally:
        await engine.close()


async def test_a_file_that_is_no_model_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"GGUF" + bytes(64))
    with pytest.raises(EngineError):
        await OpenVinoGenerator.start(path, OpenVinoSettings())
    with pytest.raises(EngineError, match="cannot be rewritten"):
        await OpenVinoGenerator.start(path, OpenVinoSettings(weights="int8"), kept_in=tmp_path / "kept")


async def test_the_tokenizer_that_is_kept_is_the_files(smollm2: Path, kept_in: Path) -> None:
    path = model_path(smollm2)
    file, kept = genai.Tokenizer(path), genai.Tokenizer(converted(path, kept_in))
    assert kept.get_vocab() == file.get_vocab()
    assert (kept.chat_template, kept.get_eos_token_id()) == (file.chat_template, file.get_eos_token_id())
    for text in ("", "a" * 20_000, "Good morning, <|im_start|>user\n", "Größe 12 \u65e5\u672c\u8a9e \U0001f600"):
        for special in (True, False):
            tokens = file.encode(text, add_special_tokens=special).input_ids.data.tolist()
            assert kept.encode(text, add_special_tokens=special).input_ids.data.tolist() == tokens
            assert kept.decode(tokens, skip_special_tokens=special) == file.decode(tokens, skip_special_tokens=special)
