import pytest

from antiphon.core.errors import BadMedia, CallerError
from antiphon.transports import forms
from antiphon.transports.forms import MAX_FIELD_BYTES, MAX_FIELDS, read_body

HEAD = 'Multipart/Form-Data; boundary="B"'
FORM = (
    b'--B\r\nContent-Disposition: form-data; name="model"\r\n\r\nwhisper-1\r\n'
    b'--B\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\nDATA\r\n--B--\r\n'
)
FIELD = b'--B\r\nContent-Disposition: form-data; name="a"\r\n\r\n%b\r\n'


def read(raw, kind=HEAD):
    return read_body(kind, raw)


def test_a_form():
    body = read(FORM)
    assert (body.data, body.fields, body.filename, body.has_file) == (b"DATA", (("model", "whisper-1"),), "a.wav", True)


def test_a_form_with_a_preamble_and_spaces():
    assert read(b"preamble\r\n" + FORM.replace(b"--B\r\n", b"--B \t\r\n")) == read(FORM)


def test_fields_may_follow_on_the_file():
    body = read(FORM.replace(b"--B--\r\n", FIELD % "é".encode() + b"--B--"))
    assert (body.data, body.fields) == (b"DATA", (("model", "whisper-1"), ("a", "é")))


def test_a_file_is_whatever_it_is():
    data = bytes(range(256)) * 100 + b"\r\n--A\r\n--"
    assert read(FORM.replace(b"DATA", data)).data == data


@pytest.mark.parametrize("head", [b"", b"; filename=", b'; filename=""', b"\r\nContent-Type: audio/wav"])
def test_a_file_needs_no_name(head):
    """RFC 7578, section 4.2: a file's name is recommended. It is larger than a field may be, and no text."""
    data = bytes(range(256)) * 8192
    body = read(FORM.replace(b'; filename="a.wav"', head).replace(b"DATA", data))
    assert (body.data, body.fields, body.filename, body.has_file) == (data, (("model", "whisper-1"),), "", True)


def test_a_file_without_a_name_is_one_file():
    nameless = b'--B\r\nContent-Disposition: form-data; name="file"\r\n\r\nX\r\n'
    for form in (nameless + FORM, nameless + nameless + b"--B--"):
        with pytest.raises(CallerError, match="more than one file"):
            read(form)


@pytest.mark.parametrize("piece", range(1, 40))
def test_a_form_is_read_a_piece_at_a_time(monkeypatch, piece):
    """A longer step would let no other thread go on."""

    class Watched(bytes):
        def find(self, sought, *span):
            assert span[1] - span[0] < max(piece + len(sought), forms.MAX_PART_HEAD_BYTES + 1)
            return super().find(sought, *span)

    monkeypatch.setattr(forms, "PIECE_BYTES", piece)
    assert read(Watched(b"preamble\r\n" + FORM.replace(b"DATA", b"\r\n--A" * 5))).data == b"\r\n--A" * 5


def test_a_form_with_an_empty_file_is_not_one_without():
    assert read(FORM.replace(b"DATA", b"")).has_file
    assert not read(FORM[: FORM.index(b"\r\n--B\r\n", 5)] + b"\r\n--B--").has_file


@pytest.mark.parametrize("raw", [b"raw", b""])
def test_any_other_body_is_itself(raw):
    assert read(raw, "audio/wav").data == raw


@pytest.mark.parametrize(
    "raw",
    [
        *(FORM[:end] for end in range(0, FORM.index(b"--B--") + 4, 7)),
        FORM.replace(b"--B", b"--C"),
        b"junk",
        FORM.replace(b' name="model"', b""),
        FORM.replace(b"--B--", b'--B\r\nContent-Disposition: form-data; name="b"; filename="b"\r\n\r\nX\r\n--B--'),
        FORM.replace(b"Content-Disp", b"Content\x00Disp"),
        FORM.replace(b"DATA", b"DA\r\n--BTA"),  # RFC 2046 section 5.1.1: no content has the boundary
        FIELD % bytes(MAX_FIELD_BYTES + 1) + FORM,
        FIELD % b"" * MAX_FIELDS + FORM,
        FIELD % b"" * (2 * MAX_FIELDS) + FORM,
    ],
)
def test_a_form_that_is_damaged_or_cut_short_is_refused(raw):
    with pytest.raises(CallerError, match="malformed"):
        read(raw)


def test_a_file_has_its_name():
    with pytest.raises(BadMedia):
        read(FORM.replace(b'name="file"', b'name="audio"'))


@pytest.mark.parametrize("kind", ["multipart/form-data", 'multipart/form-data; boundary=""'])
def test_a_form_without_a_boundary_is_refused(kind):
    with pytest.raises(CallerError):
        read(FORM, kind)


def test_a_vendor_may_name_the_file_otherwise():
    form = FORM.replace(b'name="file"', b'name="audio"')
    assert read_body(HEAD, form, "audio") == read(FORM)
    with pytest.raises(BadMedia, match="'audio'"):
        read_body(HEAD, FORM, "audio")
