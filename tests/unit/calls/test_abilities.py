"""What an engine says that it can, against what callers ask: checked once, before anything opens."""

import asyncio

import pytest

from antiphon.calls import pictures
from antiphon.core.capabilities import EVERYTHING, Ability, Incapable
from antiphon.core.errors import CallerError, CapacityError, TooLarge
from antiphon.core.events import Failed, Opened
from antiphon.core.pictures import from_bytes
from antiphon.core.specs import Image, Message, Role, Sampling
from antiphon.pools.backend import Backend
from antiphon.pools.pool import Pool
from antiphon.pools.queue import QueueLimits
from antiphon.testing import FakeClock, FakeGenerator
from session_house import batches_of, closed, events_of, until

PNG = b"\x89PNG\r\n\x1a\n" + bytes(64)
BIASED = Sampling(logit_bias=(("1", -100.0),))


def seen(*urls):
    parts = tuple(Image(url, param=f"messages[0].content[{n}].image_url") for n, url in enumerate(urls))
    return (Message(Role.USER, "look", parts=("look", *parts)),)


async def test_a_call_that_the_engine_cannot_do_is_not_opened(house):
    house.generator.abilities = EVERYTHING - {Ability.LOGIT_BIAS}
    for _ in range(10):  # more than there are places
        with pytest.raises(Incapable) as refused:
            house.generate(sampling=BIASED)
        assert (refused.value.ability, refused.value.param) == (Ability.LOGIT_BIAS, "logit_bias")
    assert not house.generator.calls
    generation = house.generate()
    await events_of(generation)
    await generation.close(delivered=True)


async def test_what_it_can_do_it_is_asked_for(house):
    generation = house.generate(sampling=BIASED, reasoning_effort="high")
    assert (await events_of(generation))[0] == Opened("counter-2026", "fp_1")
    (spec, _) = house.generator.calls[0]
    assert (spec.sampling, spec.reasoning_effort) == (BIASED, "high")
    await generation.close(delivered=True)


async def test_what_only_asks_for_quality_is_told_to_have_no_effect(house):
    house.generator.abilities = EVERYTHING - {Ability.REASONING_EFFORT}
    generation = house.generate(reasoning_effort="high", verbosity="low")
    assert (await events_of(generation))[0].unmet == {Ability.REASONING_EFFORT}
    (spec, _) = house.generator.calls[0]
    assert (spec.reasoning_effort, spec.verbosity) == ("", "low")
    await generation.close(delivered=True)


def test_a_pool_can_what_all_its_backends_can():
    engines = [FakeGenerator(abilities=frozenset(can)) for can in ([Ability.SEED, Ability.TOP_K], [Ability.TOP_K])]
    pool = Pool([Backend(f"b{n}", engine) for n, engine in enumerate(engines)], FakeClock(), QueueLimits())
    assert pool.abilities == {Ability.TOP_K}


# -- pictures ----------------------------------------------------------------------------------------------------------


async def test_a_picture_that_comes_as_data_is_not_fetched(house):
    generation = house.generate(prompt=seen(from_bytes(PNG)))
    await events_of(generation)
    assert not house.fetcher.urls
    assert house.generator.calls[0][0].prompt == seen(from_bytes(PNG))
    await generation.close(delivered=True)


async def test_an_engine_is_given_no_url_of_a_caller(house):
    house.fetcher.media = PNG
    house.fetcher.gate.set()
    services = house.sessions._services
    generation = house.generate(prompt=seen("https://a.example/1", "https://a.example/1", from_bytes(PNG)))
    produced = generation.events()
    await anext(produced)
    await anext(produced)
    assert services.pictures.held == 1
    assert services.fetching.held == 0
    assert [event async for event in produced]
    assert house.fetcher.urls == ["https://a.example/1"]
    (spec, _) = house.generator.calls[0]
    assert "a.example" not in repr(spec)
    assert [part.url for part in spec.prompt[0].parts[1:]] == [from_bytes(PNG)] * 3
    await generation.close(delivered=True)
    assert services.pictures.held == 0


@pytest.mark.parametrize(
    ("media", "kind"),
    [(b"<html>", CallerError), (CallerError("no", param="url"), CallerError), (TooLarge("no", param="url"), TooLarge)],
)
async def test_a_picture_that_cannot_be_had_is_the_callers_fault(house, media, kind):
    async def fetch(url, max_bytes=None):
        if isinstance(media, Exception):
            raise media
        return media

    house.fetcher.fetch = fetch
    generation = house.generate(prompt=seen(from_bytes(PNG), "https://a.example/2"))
    last = (await events_of(generation))[-1]
    assert isinstance(last, Failed)
    assert type(last.error) is kind
    assert last.error.param == "messages[0].content[1].image_url"
    assert not house.generator.calls
    await generation.close(delivered=True)
    assert house.sessions._services.pictures.held == 0
    assert not house.tokens()


async def test_what_is_fetched_is_bounded_together(house, monkeypatch):
    monkeypatch.setattr(pictures, "MOST_BYTES", len(PNG) + 10)
    house.fetcher.media = PNG
    house.fetcher.gate.set()
    asked = []
    fetch = house.fetcher.fetch

    async def bounded(url, max_bytes=None):
        asked.append(max_bytes)
        return await fetch(url)

    house.fetcher.fetch = bounded
    generation = house.generate(prompt=seen("https://a.example/1", "https://a.example/2", "https://a.example/3"))
    last = (await events_of(generation))[-1]
    assert isinstance(last.error, TooLarge)
    assert asked[0] == len(PNG) + 10
    assert len(asked) == 1
    await generation.close(delivered=True)


async def test_a_picture_counts_as_often_as_it_is_named(house, monkeypatch):
    """It is fetched once, but the engine is sent it each time."""
    monkeypatch.setattr(pictures, "MOST_BYTES", 4 * len(PNG))
    house.fetcher.media = PNG
    house.fetcher.gate.set()
    generation = house.generate(prompt=seen(*["https://a.example/1"] * 5))
    last = (await events_of(generation))[-1]
    assert isinstance(last.error, TooLarge)
    assert last.error.param.startswith("messages[0].content[")
    assert not house.generator.calls
    await generation.close(delivered=True)
    assert house.sessions._services.pictures.held == 0


async def test_a_picture_that_is_named_again_holds_its_places_again(house):
    house.fetcher.media = PNG + bytes(1 << 20)
    house.fetcher.gate.set()
    generation = house.generate(prompt=seen(*["https://a.example/1"] * 3))
    produced = generation.events()
    await anext(produced)
    await anext(produced)
    assert house.sessions._services.pictures.held == 5  # four thirds of a mebibyte, three times
    await produced.aclose()
    await generation.close(delivered=False)


async def test_who_leaves_meanwhile_frees_the_places(house):
    services = house.sessions._services
    generation = house.generate(prompt=seen("https://a.example/1"))
    task = asyncio.create_task(events_of(generation))
    await until(lambda: house.fetcher.urls)
    assert (services.pictures.held, services.fetching.held) == (pictures.MOST_MB, 1)
    generation.fail(CapacityError("enough"))
    assert isinstance((await task)[-1].error, CapacityError)
    await generation.close(delivered=False)
    assert (services.pictures.held, services.fetching.held) == (0, 0)


async def test_only_so_many_pictures_are_in_memory(house):
    waiting = [house.generate(prompt=seen(f"https://a.example/{n}")) for n in range(4)]
    tasks = [asyncio.create_task(batches_of(generation)) for generation in waiting]
    await until(lambda: len(house.fetcher.urls) == 4)
    services = house.sessions._services
    assert services.pictures.held == 64
    assert not services.pictures.fits(house.principal)
    house.fetcher.media = PNG
    house.fetcher.gate.set()
    await asyncio.gather(*tasks)
    for generation in waiting:
        await generation.close(delivered=True)
    await closed()
    assert services.pictures.held == 0
