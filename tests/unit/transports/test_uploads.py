import tracemalloc

import pytest
from event_loop import later, move

from antiphon.core.errors import CapacityError, RequestTimeout, TooLarge, UnsupportedCoding
from antiphon.core.identity import Principal
from antiphon.core.wire import Opening
from antiphon.transports.uploads import PROGRESS_S, SMALL_BYTES, Uploads

MB = 1 << 20
ALL = 64 * MB


@pytest.fixture
def uploads():
    return Uploads(each_bytes=20 * MB, all_bytes=ALL, key_bytes=20 * MB)


def key(name, project="acme"):
    return Principal(project, name, frozenset())


async def read(uploads, who, size, declared=True, most=20 * MB):
    left = size

    async def receive():
        nonlocal left
        chunk = bytes(min(left, 65_536))
        left -= len(chunk)
        return {"type": "http.request", "body": chunk, "more_body": left > 0}

    headers = {"content-length": str(size)} if declared else {}
    return await uploads.read(who, Opening("POST", "/", headers=headers), receive, most)


@pytest.mark.parametrize("declared", [True, False])
async def test_what_is_held_is_counted_until_it_is_released(uploads, declared):
    large, small = await read(uploads, key("a"), 5 * MB, declared), await read(uploads, key("a"), 10, declared)
    assert uploads.held == 5 * MB + 10
    assert (large.take(), small.take()) == (bytes(5 * MB), bytes(10))
    large.release()
    large.release()
    assert uploads.held == 10
    small.release()
    assert uploads.held == 0


async def test_a_body_is_in_memory_once(uploads):
    """A copy of it would also stop the event loop while it is made."""
    tracemalloc.start()
    try:
        upload = await read(uploads, key("a"), 16 * MB)
        upload.take()
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 24 * MB


@pytest.mark.parametrize("declared", [True, False])
async def test_one_alone_has_half(uploads, declared):
    for _ in range(3):
        await read(uploads, key("a"), 10 * MB, declared)
    held = uploads.held
    with pytest.raises(CapacityError):
        await read(uploads, key("a"), 10 * MB, declared)
    assert uploads.held == held


async def test_others_have_their_share_of_the_other_half(uploads):
    for _ in range(3):
        await read(uploads, key("a"), 10 * MB)
    with pytest.raises(CapacityError):
        await read(uploads, key("b"), 10 * MB)  # of the project that has the first half
    for _ in range(2):
        await read(uploads, key("c", "other"), 10 * MB)
    with pytest.raises(CapacityError):
        await read(uploads, key("c", "other"), 10 * MB)
    await read(uploads, key("d", "third"), 10 * MB)


@pytest.mark.parametrize("declared", [True, False])
async def test_small_bodies_have_room_whatever_is_held(uploads, declared):
    for n in range(6):
        await read(uploads, key(f"a{n}", f"p{n}"), 10 * MB)
    for _ in range(5):
        await read(uploads, key("a"), SMALL_BYTES, declared)
    await read(uploads, key("b"), SMALL_BYTES, declared)


async def test_one_key_does_not_take_all_that_small_bodies_have():
    uploads = Uploads(each_bytes=20 * MB, all_bytes=160 * MB)
    large = [await read(uploads, key(f"a{n}", f"p{n}"), 20 * MB) for n in range(8)]
    for _ in range(20):
        await read(uploads, key("a"), SMALL_BYTES)
    with pytest.raises(CapacityError):
        await read(uploads, key("a"), SMALL_BYTES)
    for _ in range(16):
        await read(uploads, key("b", "other"), SMALL_BYTES)
    large[0].release()
    await read(uploads, key("a"), SMALL_BYTES)  # there is room among the large ones


@pytest.mark.parametrize("declared", [True, False])
async def test_a_body_that_is_too_large(uploads, declared):
    with pytest.raises(TooLarge):
        await read(uploads, key("a"), MB + 1, declared, most=MB)
    assert uploads.held == 0


@pytest.mark.parametrize(
    ("first", "each", "in_time"), [(0, 300_000, True), (0, 10_000, False), (2 * MB, 100_000, False)]
)
async def test_a_body_must_go_on_coming(uploads, monkeypatch, first, each, in_time):
    """`each` so many bytes in `PROGRESS_S`, after the first."""
    move(monkeypatch, 0)
    left = [first, *[each // 5] * 15, 0]

    async def receive():
        if len(left) < 17:
            await later(monkeypatch, PROGRESS_S / 5)
        return {"type": "http.request", "body": bytes(left.pop(0)), "more_body": bool(left)}

    reading = uploads.read(key("a"), Opening("POST", "/"), receive, 20 * MB)
    if in_time:
        assert len((await reading).data) == first + 15 * (each // 5)
    else:
        with pytest.raises(RequestTimeout):
            await reading
        assert uploads.held == 0


@pytest.mark.parametrize("coding", ["gzip", "GZIP", "br", "zstd", "deflate"])
async def test_a_compressed_body_is_named_as_such(uploads, coding):
    opening = Opening("POST", "/", headers={"content-encoding": coding})
    with pytest.raises(UnsupportedCoding, match=coding.lower()) as refused:
        await uploads.read(key("a"), opening, None, MB)
    assert refused.value.status == 415
    assert uploads.held == 0


@pytest.mark.parametrize("coding", ["identity", "utf-8", ""])
async def test_what_compresses_nothing_is_no_coding(uploads, coding):
    async def receive():
        return {"type": "http.request", "body": b"{}", "more_body": False}

    opening = Opening("POST", "/", headers={"content-encoding": coding})
    assert (await uploads.read(key("a"), opening, receive, MB)).take() == b"{}"


@pytest.mark.parametrize("digits", [30, 5000])
async def test_a_length_of_many_digits_is_not_read(uploads, digits):
    """Python refuses to read one of more than 4,300; what comes is counted all the same."""
    headers = {"content-length": "2".rjust(digits, "0")}

    async def receive():
        return {"type": "http.request", "body": b"{}", "more_body": False}

    upload = await uploads.read(key("a"), Opening("POST", "/", headers=headers), receive, 20 * MB)
    assert (upload.take(), uploads.held) == (b"{}", 2)


async def test_what_is_handed_over_is_released_once(uploads):
    first = await read(uploads, key("a"), 100)
    second = first.hand_over()
    first.release()
    assert uploads.held == 100
    second.release()
    second.release()
    assert uploads.held == 0
