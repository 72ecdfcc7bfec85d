"""Engines from the configuration; none of these connects before it is called."""

from contextlib import AsyncExitStack

import pytest

from antiphon import backends
from antiphon.catalogue.catalogue import ANSWERS
from antiphon.config import Config, Invalid, OpenAI, OpenInference, OpenVino, Version
from antiphon.core.capabilities import Ability
from antiphon.core.specs import EmbedSpec, GenerateSpec, InferSpec
from antiphon.observe.observer import Observer
from antiphon.slo.objectives import Objectives
from antiphon.testing import FakeClock

URL = "http://127.0.0.1:9"
ENGINES = {
    "chat": OpenAI(server="vllm", url=URL, model="m"),
    "vectors": OpenAI(server="vllm", url=URL, model="m", embeds=True),
    "tensors": OpenInference(url=URL, model="m"),
}


async def build(models, tmp_path, engines=ENGINES):
    config = Config(data_dir=str(tmp_path), models=models, engines=engines)
    observer = Observer(Objectives(), FakeClock())
    async with AsyncExitStack() as stack:
        catalogue, _ = await backends.build(config, FakeClock(), observer, stack)
        return catalogue


async def test_a_version_serves_what_its_engines_do(tmp_path):
    models = await build({name: Version(engines=(name,)) for name in ENGINES} | {"alias": "chat"}, tmp_path)
    served = {name: models.resolve(name, ANSWERS).serves for name in (*ENGINES, "alias")}
    assert served == {"chat": GenerateSpec, "vectors": EmbedSpec, "tensors": InferSpec, "alias": GenerateSpec}


async def test_prompts_leave_this_server_for_engines_that_are_not_its_own(tmp_path):
    """One of several is enough: nobody knows which will answer."""
    own = {"own": OpenVino(model="m"), "run": OpenAI(server="vllm", url=URL, model="m", processor="self")}
    config = Config(data_dir=str(tmp_path), engines=ENGINES | own, models={})
    cases = {("chat",): True, ("tensors",): True, ("own",): False, ("run",): False, ("own", "chat"): True}
    for engines, far in cases.items():
        assert backends._served("m", Version(engines=engines), None, GenerateSpec, config).by_others is far


async def test_what_a_model_cannot_do_is_said_of_its_engine(tmp_path):
    blind = OpenAI(server="vllm", url=URL, model="m", cannot=(Ability.IMAGES,))
    engines = {"one": blind, "two": OpenAI(server="vllm", url=URL, model="m")}
    models = await build({"a": Version(engines=("one", "two")), "b": Version(engines=("two",))}, tmp_path, engines)
    assert models.resolve("b", ANSWERS).generator().abilities - models.resolve("a", ANSWERS).generator().abilities == {
        Ability.IMAGES
    }


async def test_engines_of_two_kinds_are_no_version(tmp_path):
    with pytest.raises(Invalid, match=r"models\.both\.engines"):
        await build({"both": Version(engines=("chat", "vectors"))}, tmp_path)


async def test_only_language_models_are_hedged(tmp_path):
    await build({"m": Version(engines=("chat", "chat"), hedge_after_ms=9)}, tmp_path)
    with pytest.raises(Invalid, match=r"models\.m\.hedge_after_ms"):
        await build({"m": Version(engines=("vectors", "vectors"), hedge_after_ms=9)}, tmp_path)


@pytest.mark.parametrize(
    ("wrong", "setting"),
    [({"server": "nobody"}, "server"), ({"api_key_env": "ANTIPHON_NO_SUCH_VARIABLE"}, "api_key_env")],
)
async def test_what_is_wrong_with_an_engine_is_named(tmp_path, wrong, setting):
    engine = OpenAI(**{"server": "vllm", "url": URL, "model": "m"} | wrong)
    with pytest.raises(Invalid, match=rf"engines\.one\.{setting}"):
        await build({"one": Version(engines=("one",))}, tmp_path, {"one": engine})


@pytest.mark.parametrize("key", ["a key", "schlüssel", "key\n"])
async def test_a_key_that_no_header_can_have_is_named(tmp_path, monkeypatch, key):
    monkeypatch.setenv("ANTIPHON_TEST_ENGINE_KEY", key)
    engine = OpenAI(server="vllm", url=URL, model="m", api_key_env="ANTIPHON_TEST_ENGINE_KEY")
    with pytest.raises(Invalid, match=r"engines\.one\.api_key_env"):
        await build({"one": Version(engines=("one",))}, tmp_path, {"one": engine})


@pytest.mark.parametrize(
    ("given", "used"),
    [
        (OpenVino(model="smollm2-135m-instruct"), (0.2, 0.9)),
        (OpenVino(model="smollm2-135m-instruct", temperature=0.0), (0.0, 0.9)),
        (OpenVino(model="model.gguf"), (None, None)),
        (OpenVino(model="model.gguf", top_p=0.5), (None, 0.5)),
    ],
)
def test_a_model_of_the_catalog_is_sampled_as_its_makers_advise(given, used):
    settings = backends.openvino_settings(given)
    assert (settings.temperature, settings.top_p) == used


def test_rewritten_weights_have_a_fingerprint_of_their_own():
    given = (
        OpenVino(model="smollm2-135m-instruct"),
        OpenVino(model="smollm2-135m-instruct", weights="int8"),
        OpenVino(model="model.gguf", weights="int8"),
        OpenAI(server="vllm", url=URL, model="smollm2-135m-instruct"),
    )
    plain, rewritten, unknown, elsewhere = map(backends.fingerprint, given)
    assert rewritten == f"{plain}_int8"
    assert plain.startswith("fp_")
    assert unknown == elsewhere == ""
