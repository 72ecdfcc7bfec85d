"""What engines send, as their documentation and sources have it (`shapes/`, each names its source), in our events."""

from pathlib import Path

import pytest

from antiphon.core.errors import EngineError
from antiphon.core.events import (
    Alternative,
    ChoiceEnded,
    FinishReason,
    Generated,
    ReasoningDelta,
    ScoredToken,
    TextDelta,
    TokenUsage,
    ToolCallDelta,
    ToolCallStarted,
)
from antiphon.core.specs import GenerateSpec, Message, Role, Sampling
from antiphon.engines.openai_compatible.answer import Translation, decode
from antiphon.engines.openai_compatible.presets import PRESETS, Counts
from antiphon.engines.openai_compatible.sse import EventSplitter

SHAPES = Path(__file__).parent / "shapes"
CALL = "0c5f9f2c-6b0f-4c58-8f8b-6a4f4a3c0f11"
PROMPT = (Message(Role.USER, "Twelve bytes"),)


def asked(choices: int = 1, top: int = 0, stream: bool = True) -> GenerateSpec:
    return GenerateSpec("m", PROMPT, choices, Sampling(logprobs=top > 0, top_logprobs=top), stream=stream)


def streamed(preset: str, data: bytes, spec: GenerateSpec | None = None) -> list[Generated | TokenUsage]:
    translation = Translation(spec or asked(), CALL, PRESETS[preset].counts is Counts.ALWAYS)
    events: list[Generated | TokenUsage] = []
    for payload in EventSplitter(100_000).feed(data):
        if payload != b"[DONE]":
            translation.chunk(events, decode(payload))
    assert translation.ended
    return [*events, translation.usage()]


def shape(name: str) -> bytes:
    return (SHAPES / name).read_bytes()


def test_openai() -> None:
    assert streamed("openai", shape("openai.sse")) == [
        TextDelta(0, "Hello", 1),
        ChoiceEnded(0, FinishReason.STOP),
        TokenUsage(19, 10, 0, 9),
    ]


def test_vllm() -> None:
    assert streamed("vllm", shape("vllm.sse"), asked(2)) == [
        TokenUsage(32, 0),
        TextDelta(0, "How", 1),
        TextDelta(0, "dy", 1),
        TextDelta(1, "I", 1),
        TextDelta(0, " there", 1),
        TextDelta(1, "'m", 1),
        TextDelta(0, ",", 1),
        ChoiceEnded(0, FinishReason.LENGTH),
        TextDelta(1, " glad", 1),
        TextDelta(1, " you", 1),
        ChoiceEnded(1, FinishReason.LENGTH),
        TokenUsage(32, 8),
    ]


def test_sglang_counts_as_it_goes() -> None:
    assert streamed("sglang", shape("sglang.sse")) == [
        TokenUsage(21, 2),
        ReasoningDelta(0, "Two and", 2),
        ReasoningDelta(0, " two.", 2),
        TextDelta(0, "Fo", 1),
        TextDelta(0, "ur.", 3),
        ChoiceEnded(0, FinishReason.STOP),
        TokenUsage(21, 9, 16, 4),
    ]


def test_tensorrt_llm_repeats_a_name_and_gives_no_id() -> None:
    made = f"call_{CALL.replace('-', '')}00"
    assert streamed("tensorrt-llm", shape("tensorrt-llm.sse")) == [
        TokenUsage(30, 0),
        ToolCallStarted(0, 0, made, "weather"),
        ToolCallDelta(0, 0, '{"city":', 3),
        ToolCallDelta(0, 0, ' "Oslo"}', 4),
        ChoiceEnded(0, FinishReason.TOOL_CALLS),
        TokenUsage(30, 8),
    ]


def test_ollama_calls_tools_whole() -> None:
    assert streamed("ollama", shape("ollama.sse")) == [
        ReasoningDelta(0, "Hm.", 1),
        TextDelta(0, "Let me look.", 1),
        ToolCallStarted(0, 0, "call_a1", "weather"),
        ToolCallDelta(0, 0, '{"city":"Oslo"}', 1),
        ToolCallStarted(0, 1, "call_b2", "weather"),
        ToolCallDelta(0, 1, '{"city":"Bergen"}', 1),
        ChoiceEnded(0, FinishReason.TOOL_CALLS),
        TokenUsage(26, 40),
    ]


def test_calls_that_share_an_index_are_told_apart_by_id() -> None:
    data = shape("ollama.sse").replace(b'"index":1,"type"', b'"index":0,"type"')
    started = [event for event in streamed("ollama", data) if isinstance(event, ToolCallStarted)]
    assert started == [ToolCallStarted(0, 0, "call_a1", "weather"), ToolCallStarted(0, 1, "call_b2", "weather")]


def test_a_call_whose_pieces_have_an_id_each_is_one_call() -> None:
    piece = '{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"%s","function":%s}]},"finish_reason":%s}]}'
    pieces = [("a", '{"name":"weather"}', "null"), ("b", '{"arguments":"{}"}', "null"), ("c", "{}", '"stop"')]
    data = "".join(f"data: {piece % each}\n\n" for each in pieces)
    assert streamed("openai", data.encode())[:3] == [
        ToolCallStarted(0, 0, "a", "weather"),
        ToolCallDelta(0, 0, "{}", 1),
        ChoiceEnded(0, FinishReason.TOOL_CALLS),
    ]


def test_an_input_counted_at_the_start_alone_is_not_estimated() -> None:
    chunks = shape("vllm.sse").replace(b'"choices":[],"usage"', b'"choices":[],"none"')
    assert chunks != shape("vllm.sse")
    assert streamed("vllm", chunks, asked(2))[-1] == TokenUsage(32, 8)


def test_litserve_counts_nothing_so_we_do() -> None:
    assert streamed("litserve", shape("litserve.sse")) == [
        TextDelta(0, "Hello", 1),
        TextDelta(0, " there", 1),
        ChoiceEnded(0, FinishReason.STOP),
        TokenUsage(3, 2),
    ]


def test_litserve_counts_with_its_last_chunk() -> None:
    told = b'"usage":{"prompt_tokens":9,"total_tokens":16,"completion_tokens":7}'
    none = b'"usage":{"prompt_tokens":0,"total_tokens":0,"completion_tokens":0}'
    assert streamed("litserve", shape("litserve.sse").replace(none, told))[-1] == TokenUsage(9, 7)


def test_llama_cpp_scores_tokens() -> None:
    assert streamed("llama.cpp", shape("llama.cpp.sse"), asked(top=2)) == [
        TextDelta(0, "Hi", 1, (ScoredToken("Hi", -0.25, (Alternative("Hi", -0.25), Alternative("Hello", -1.5))),)),
        TextDelta(0, "!", 1, (ScoredToken("!", -0.5, (Alternative("!", -0.5), Alternative(".", -2.0))),)),
        ChoiceEnded(0, FinishReason.LENGTH),
        TokenUsage(44, 2, 43),
    ]


def test_triton() -> None:
    assert streamed("triton", shape("triton.sse")) == [
        TextDelta(0, "This is", 1),
        TextDelta(0, " a test.", 1),
        ChoiceEnded(0, FinishReason.STOP),
        TokenUsage(42, 7),
    ]


def test_triton_whole() -> None:
    assert Translation(asked(stream=False), CALL, False).whole(decode(shape("triton.json"))) == (
        TextDelta(0, "This is only a test.", 7),
        ChoiceEnded(0, FinishReason.STOP),
        TokenUsage(42, 7),
    )


def test_a_completion_scores_tokens() -> None:
    told = (
        b'{"choices":[{"index":0,"text":" a b","finish_reason":"length","logprobs":{"tokens":[" a"," b"],'
        b'"token_logprobs":[null,-0.5],"top_logprobs":[null,{" c":-2.0," b":-0.5}],"text_offset":[0,2]}}],'
        b'"usage":{"prompt_tokens":3,"completion_tokens":2}}'
    )
    assert Translation(asked(top=1, stream=False), CALL, False).whole(decode(told))[0] == TextDelta(
        0, " a b", 2, (ScoredToken(" a", 0.0), ScoredToken(" b", -0.5, (Alternative(" b", -0.5),)))
    )


def test_a_whole_answer_with_thought_and_tools() -> None:
    told = (
        b'{"choices":[{"index":0,"finish_reason":"tool_calls","message":{"role":"assistant","content":null,'
        b'"reasoning_content":"Hm.","tool_calls":[{"id":"a","type":"function","function":{"name":"f","arguments":"{}"}}'
        b',{"id":"b","type":"function","function":{"name":"g","arguments":"{}"}}]}}],"usage":{"prompt_tokens":3,'
        b'"completion_tokens":9,"prompt_tokens_details":{"cached_tokens":2},'
        b'"completion_tokens_details":{"reasoning_tokens":4}}}'
    )
    assert Translation(asked(stream=False), CALL, False).whole(decode(told)) == (
        ReasoningDelta(0, "Hm.", 4),
        ToolCallStarted(0, 0, "a", "f"),
        ToolCallDelta(0, 0, "{}", 5),
        ToolCallStarted(0, 1, "b", "g"),
        ToolCallDelta(0, 1, "{}", 0),
        ChoiceEnded(0, FinishReason.TOOL_CALLS),
        TokenUsage(3, 9, 2, 4),
    )


def test_a_whole_answer_that_is_not_counted_is_estimated() -> None:
    told = b'{"choices":[{"index":0,"finish_reason":"stop","message":{"content":"Thirteen byte"}}]}'
    assert Translation(asked(stream=False), CALL, False).whole(decode(told))[-1] == TokenUsage(3, 4)


def test_choices_are_counted_apart() -> None:
    def chunk(index: int, text: str, tokens: int, reason: str = "null") -> str:
        return (
            f'data: {{"choices":[{{"index":{index},"delta":{{"content":"{text}"}},"finish_reason":{reason}}}],'
            f'"usage":{{"prompt_tokens":5,"completion_tokens":{tokens}}}}}\n\n'
        )

    data = chunk(0, "a", 2) + chunk(1, "", 1) + chunk(1, "b", 4) + chunk(0, "c", 3, '"stop"')
    data += chunk(1, "", 5, '"length"') + 'data: {"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":8}}\n\n'
    assert streamed("vllm", data.encode(), asked(2)) == [
        TokenUsage(5, 2),
        TextDelta(0, "a", 2),
        TextDelta(1, "b", 4),
        TextDelta(0, "c", 1),
        ChoiceEnded(0, FinishReason.STOP),
        ChoiceEnded(1, FinishReason.LENGTH),
        TokenUsage(5, 8),
    ]


@pytest.mark.parametrize(
    "told",
    [
        b"",
        b"null",
        b"[]",
        b'{"choices":[{"index":"0"}]}',
        b'{"choices":[{"delta":{"content":7}}]}',
        b'{"choices":' + b"[" * 10_000,
        b'\xff{"choices":[]}',
        b'{"choices":[],"usage":{"prompt_tokens":-1,"completion_tokens":1}}',
        b'{"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":9007199254740993}}',
        b'{"choices":[{"delta":{"tool_calls":[{"index":-1,"function":{"arguments":"{}"}}]}}]}',
    ],
)
def test_what_is_no_chunk_is_the_engines_failure(told: bytes) -> None:
    with pytest.raises(EngineError):
        decode(told)


def test_litserves_error_has_no_end() -> None:
    splitter = EventSplitter(10_000)
    assert len(splitter.feed(shape("litserve-error.sse"))) == 1  # so the answer just ends, without a reason


@pytest.mark.parametrize(
    "choice",
    [
        b'{"index":0,"delta":{},"finish_reason":"abort"}',
        b'{"index":0,"delta":{},"finish_reason":"something_new"}',
        b'{"index":1,"delta":{"content":"x"}}',
        b'{"index":-1,"delta":{"content":"x"}}',
        b'{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{}"}}]}}',
    ],
)
def test_what_makes_no_sense_is_the_engines_failure(choice: bytes) -> None:
    with pytest.raises(EngineError):
        Translation(asked(), CALL, False).chunk([], decode(b'{"choices":[%s]}' % choice))


def test_a_whole_answer_must_say_how_it_ended() -> None:
    told = decode(b'{"choices":[{"index":0,"message":{"content":"x"}}],"usage":{"prompt_tokens":1}}')
    with pytest.raises(EngineError):
        Translation(asked(stream=False), CALL, False).whole(told)


def calls_of(*deltas: str, end: str = "tool_calls") -> list[tuple[str, str, str]]:
    """The calls that a stream of these deltas has: id, name, arguments."""
    chunks = [f'{{"choices":[{{"index":0,"delta":{{"tool_calls":[{each}]}}}}]}}' for each in deltas]
    chunks.append(f'{{"choices":[{{"index":0,"delta":{{}},"finish_reason":"{end}"}}]}}')
    begun: dict[int, list[str]] = {}
    for event in streamed("vllm", "".join(f"data: {chunk}\n\n" for chunk in chunks).encode()):
        if isinstance(event, ToolCallStarted):
            begun[event.index] = [event.id, event.name, ""]
        elif isinstance(event, ToolCallDelta):
            begun[event.index][2] += event.arguments
    return [(one, name, arguments) for one, name, arguments in begun.values()]


CUTS = {
    "an id for each piece": [
        '{"index":0,"id":"a","function":{"name":"f","arguments":""}}',
        '{"index":0,"id":"b","function":{"arguments":"{}"}}',
    ],
    "id and name in each piece": [
        '{"index":0,"id":"a","function":{"name":"f","arguments":"{"}}',
        '{"index":0,"id":"a","function":{"name":"f","arguments":"}"}}',
    ],
    "name after id and arguments": [
        '{"index":0,"id":"a"}',
        '{"index":0,"function":{"arguments":"{"}}',
        '{"index":0,"function":{"name":"f","arguments":"}"}}',
    ],
    "no index": ['{"id":"a","function":{"name":"f","arguments":"{"}}', '{"function":{"arguments":"}"}}'],
    "arguments as an object": ['{"index":0,"id":"a","function":{"name":"f","arguments":{}}}'],
    "an empty call at the end": [
        '{"index":0,"id":"a","function":{"name":"f","arguments":"{}"}}',
        '{"index":1,"function":{"arguments":""}}',
    ],
}


@pytest.mark.parametrize("cut", CUTS)
def test_a_call_is_one_however_its_server_cuts_it(cut: str) -> None:
    assert calls_of(*CUTS[cut]) == [("a", "f", "{}")]


def test_two_calls_without_an_index() -> None:
    first = ['{"id":"a","function":{"name":"f","arguments":""}}', '{"function":{"arguments":"{}"}}']
    second = ['{"id":"b","function":{"name":"g","arguments":""}}', '{"function":{"arguments":"[]"}}']
    assert calls_of(*first, *second) == [("a", "f", "{}"), ("b", "g", "[]")]


def test_an_end_of_a_second_call_under_its_own_number() -> None:
    heads = [f'{{"index":0,"id":"{name}","function":{{"name":"{name}","arguments":""}}}}' for name in "fg"]
    tail = '{"index":1,"function":{"arguments":"{}"}}'
    assert calls_of(*heads, tail) == [("f", "f", ""), ("g", "g", "{}")]


def test_a_call_that_never_gets_a_name_is_the_servers_fault() -> None:
    with pytest.raises(EngineError):
        calls_of('{"index":0,"id":"a","function":{"arguments":"{}"}}')


def test_the_bytes_of_a_part_of_a_character() -> None:
    told = (
        b'{"choices":[{"index":0,"message":{"content":"x"},"finish_reason":"stop","logprobs":{"content":[{"token":'
        b'"\xef\xbf\xbd","logprob":-0.5,"bytes":[240,159],"top_logprobs":[{"token":"\xef\xbf\xbd","logprob":-0.5,"bytes":[240]}]},'
        b'{"token":"a","logprob":-1,"bytes":[97],"top_logprobs":[]}]}}]}'
    )
    delta = Translation(asked(top=1, stream=False), CALL, False).whole(decode(told))[0]
    assert isinstance(delta, TextDelta)
    parted = ScoredToken("\ufffd", -0.5, (Alternative("\ufffd", -0.5, b"\xf0"),), b"\xf0\x9f")
    assert delta.scored == (parted, ScoredToken("a", -1.0))


def test_a_count_that_comes_with_the_last_piece_alone_is_the_servers() -> None:
    data = (
        b'data: {"choices":[{"index":0,"delta":{"content":"Hello there"},"finish_reason":"stop"}],'
        b'"usage":{"prompt_tokens":50,"completion_tokens":3,"prompt_tokens_details":{"cached_tokens":16}}}\n\n'
    )
    assert streamed("vllm", data)[-1] == TokenUsage(50, 3, 16)
    assert streamed("ollama", data)[-1] == TokenUsage(50, 3, 16)
