"""Pictures by their first bytes."""

import tracemalloc
from base64 import b64encode

import pytest

from antiphon.core.pictures import check_picture, from_bytes, is_data

PICTURES = {
    "png": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
    "jpeg": b"\xff\xd8\xff\xe0\0\x10JFIF",
    "gif": b"GIF89a\1\0\1\0",
    "webp": b"RIFF\x1a\0\0\0WEBPVP8 ",
}


@pytest.mark.parametrize("kind", PICTURES)
def test_a_picture_is_known_by_its_data(kind: str) -> None:
    url = from_bytes(PICTURES[kind])
    assert is_data(url)
    assert url.startswith(f"data:image/{kind};base64,")
    assert check_picture(url) == url
    assert check_picture(url.replace(kind, "bmp", 1)) == url


@pytest.mark.parametrize("data", [b"", b"%PDF-1.7 and more", b"<svg/>", b"RIFF\0\0\0\0WAVEfmt "])
def test_anything_else_is_none(data: bytes) -> None:
    with pytest.raises(ValueError, match="known kind"):
        from_bytes(data)
    with pytest.raises(ValueError, match="known kind"):
        check_picture(f"data:image/png;base64,{b64encode(data).decode()}")


@pytest.mark.parametrize(
    "url",
    [
        *("data:", "data:image/png,abc", "data:text/plain;base64,iVBORw0KGgo=", "data:image/png;base64,iVBORw0KGgo"),
        *("data:image/png;base64,iVBORw0KG\ngo=", "data:image/png;base64,iVBORw0KGg==="),
        *("data:image/png;base64,iVBO=w0KGgo=", "data:image/png;base64,iVBORw0=====", "data:image/png;base64,iVBO===="),
    ],
)
def test_no_base64(url: str) -> None:
    with pytest.raises(ValueError, match="base64"):
        check_picture(url)


def test_a_large_one_is_checked_without_memory_of_its_own() -> None:
    """What fills the memory also takes seconds, in which no other call goes on."""
    url = from_bytes(PICTURES["png"] + bytes(3_000_000))
    tracemalloc.start()
    try:
        check_picture(url)
        with pytest.raises(ValueError, match="base64"):
            check_picture(f"{url[:-1]}!")
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 4 * len(url)
