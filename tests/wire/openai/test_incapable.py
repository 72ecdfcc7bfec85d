"""Pictures and other parameters that not every model can do: how they are asked for, and how they are refused."""

import json
from typing import Any

import pytest

from antiphon.core.capabilities import EVERYTHING, Ability, Incapable, settle
from antiphon.core.endpoints import AnswerRequest
from antiphon.core.errors import CallerError
from antiphon.core.specs import GenerateSpec, Image, Message, Role
from antiphon.core.wire import Opening
from antiphon.surfaces.openai.chat import ChatCompletions
from antiphon.surfaces.openai.completions import Completions
from antiphon.surfaces.openai.responses import Responses

PNG = "data:image/png;base64,iVBORw0KGgo="
ENDPOINTS: dict[str, tuple[Any, dict[str, Any]]] = {
    "chat/completions": (ChatCompletions(), {"messages": [{"role": "user", "content": "Hi"}]}),
    "completions": (Completions(), {"prompt": "Once"}),
    "responses": (Responses(), {"input": "Hi"}),
}
TOOL = {"type": "function", "function": {"name": "f"}}


def opening() -> Opening:
    return Opening("POST", "/", request_id="00000000-0000-4000-8000-000000000001")


def asked(path: str, **fields: Any) -> GenerateSpec:
    endpoint, least = ENDPOINTS[path]
    call = endpoint.negotiate(opening(), json.dumps({"model": "m", **least, **fields}).encode())
    assert isinstance(call, AnswerRequest)
    assert isinstance(call.spec, GenerateSpec)
    return call.spec


def seen(url: str = PNG, **fields: Any) -> list[dict[str, Any]]:
    text = {"type": "text", "text": "a"}
    shown = {"type": "image_url", "image_url": {"url": url, **fields}}
    return [{"role": "system", "content": "s"}, {"role": "user", "content": [text, shown, text]}]


def shown(url: str | None = PNG, **fields: Any) -> list[dict[str, Any]]:
    text = {"type": "input_text", "text": "a"}
    return [{"role": "user", "content": [text, {"type": "input_image", "image_url": url, **fields}, text]}]


@pytest.mark.parametrize(
    ("detail", "told"), [(None, ""), ("auto", "auto"), ("low", "low"), ("high", "high"), ("original", "high")]
)
@pytest.mark.parametrize("url", [PNG, "https://a.example/cat.png", "http://a.example"])
def test_a_picture_among_texts(url: str, detail: str | None, told: str) -> None:
    system, said = asked("chat/completions", messages=seen(url, detail=detail)).prompt
    assert system == Message(Role.SYSTEM, "s")
    image = Image(url, told, "messages[1].content[1].image_url")
    assert said == Message(Role.USER, "a\na", parts=("a", image, "a"))
    (item,) = asked("responses", input=shown(url, detail=detail)).prompt
    image = Image(url, told, "input[0].content[1].image_url")
    assert item == Message(Role.USER, "a\na", parts=("a", image, "a"))


def test_a_picture_alone() -> None:
    (said,) = asked("chat/completions", messages=[seen()[1] | {"content": seen()[1]["content"][1:2]}]).prompt
    assert isinstance(said, Message)
    assert (said.text, len(said.parts)) == ("", 1)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "cat.png", "data:", "data:image/svg+xml;base64,PHN2Zy8+", ""])
def test_what_is_no_picture(url: str) -> None:
    for path, fields, param in [
        ("chat/completions", {"messages": seen(url)}, "messages[1].content[1].image_url"),
        ("responses", {"input": shown(url)}, "input[0].content[1].image_url"),
    ]:
        with pytest.raises(CallerError) as refused:
            asked(path, **fields)
        assert refused.value.param == param
        assert not url or url not in refused.value.message


def test_a_picture_that_is_missing() -> None:
    with pytest.raises(CallerError) as refused:
        asked("responses", input=shown(None))
    assert refused.value.param == "input[0].content[1].image_url"


def test_a_response_lists_its_pictures() -> None:
    endpoint, _ = ENDPOINTS["responses"]
    call = endpoint.negotiate(opening(), json.dumps({"model": "m", "input": shown(detail="low")}).encode())
    (item,) = call.surface._turn.listed
    text = {"type": "input_text", "text": "a"}
    assert item["content"] == [text, {"type": "input_image", "image_url": PNG, "detail": "low"}, text]


@pytest.mark.parametrize(
    ("path", "fields", "ability", "param"),
    [
        ("chat/completions", {"messages": seen()}, Ability.IMAGES, "messages[1].content[1].image_url"),
        ("chat/completions", {"logit_bias": {"1": 1}}, Ability.LOGIT_BIAS, "logit_bias"),
        ("chat/completions", {"n": 2}, Ability.CHOICES, "n"),
        ("chat/completions", {"seed": 1}, Ability.SEED, "seed"),
        ("chat/completions", {"logprobs": True}, Ability.LOGPROBS, "logprobs"),
        ("chat/completions", {"logprobs": True, "top_logprobs": 2}, Ability.TOP_LOGPROBS, "top_logprobs"),
        ("chat/completions", {"response_format": {"type": "json_object"}}, Ability.JSON_OUTPUT, "response_format"),
        ("chat/completions", {"structured_outputs": {"regex": "a"}}, Ability.REGEX_OUTPUT, "structured_outputs"),
        ("chat/completions", {"guided_choice": ["a"]}, Ability.CHOICE_OUTPUT, "guided_choice"),
        ("chat/completions", {"guided_json": {}}, Ability.JSON_OUTPUT, "guided_json"),
        ("chat/completions", {"top_k": 5}, Ability.TOP_K, "top_k"),
        ("chat/completions", {"stop_token_ids": [5]}, Ability.STOP_TOKENS, "stop_token_ids"),
        ("chat/completions", {"chat_template_kwargs": {"a": 1}}, Ability.TEMPLATE_ARGUMENTS, "chat_template_kwargs"),
        ("chat/completions", {"tools": [TOOL], "tool_choice": "required"}, Ability.TOOL_CHOICE, "tool_choice"),
        (
            "chat/completions",
            {"tools": [TOOL], "parallel_tool_calls": False},
            Ability.ONE_TOOL_CALL,
            "parallel_tool_calls",
        ),
        ("completions", {}, Ability.RAW_TEXT, "prompt"),
        ("completions", {"logit_bias": {"1": 1}}, Ability.LOGIT_BIAS, "logit_bias"),
        ("responses", {"input": shown()}, Ability.IMAGES, "input[0].content[1].image_url"),
        ("responses", {"include": ["message.output_text.logprobs"]}, Ability.LOGPROBS, "include"),
        ("responses", {"text": {"format": {"type": "json_object"}}}, Ability.JSON_OUTPUT, "text.format"),
        ("responses", {"ignore_eos": True}, Ability.IGNORE_EOS, "ignore_eos"),
    ],
)
def test_what_a_model_cannot_do_is_refused_by_its_parameter(
    path: str, fields: dict[str, Any], ability: Ability, param: str
) -> None:
    spec = asked(path, **fields)
    assert settle(spec, EVERYTHING) == (spec, frozenset())
    with pytest.raises(Incapable) as refused:
        settle(spec, EVERYTHING - {ability})
    answer = ENDPOINTS[path][0].refuse(opening(), refused.value)
    error = json.loads(answer.body)["error"]
    assert answer.status == 400
    assert (error["type"], error["code"], error["param"]) == ("invalid_request_error", "unsupported_parameter", param)
    words = {
        Ability.IMAGES: "This model does not take images.",
        Ability.RAW_TEXT: "This is a chat model and not supported in the v1/completions endpoint. "
        "Use v1/chat/completions.",
    }
    said = f"Unsupported parameter: '{param}' is not supported with this model."
    assert error["message"] == words.get(ability, said)
