import pytest

from antiphon.core.errors import EngineError
from antiphon.engines import transcript

VOCABULARY = (b"", b"", b"", b"\xc3", b"\xa9", b" hello", b" wor", b"ld", b".", b" caf", b"\xff", b" ")


def test_vocabulary_lengths_of_one_and_two_bytes(tmp_path):
    long = "x" * 300
    path = tmp_path / "tokenizer.bin"
    path.write_bytes(
        b"\x05<unk>\x03<s>\x04</s>\x04\xe2\x96\x81a"
        + bytes([128 + 300 % 128, 300 // 128])
        + long.encode()
        + b"\x08<<ST_0>>"
    )
    assert transcript.read_vocabulary(path) == (b"", b"", b"", b" a", long.encode(), b"")


@pytest.mark.parametrize("damage", [b"\x05<unk", b"\x05<unk>\x03<s>\x04</s>\x81", b""])
def test_a_vocabulary_cut_short_is_an_error(tmp_path, damage):
    path = tmp_path / "tokenizer.bin"
    path.write_bytes(damage)
    with pytest.raises(EngineError):
        transcript.read_vocabulary(path)


def test_pieces_join_to_the_text_across_byte_tokens():
    pieces = transcript.to_pieces([9, 3, 4, 6, 7, 8], VOCABULARY)
    assert pieces == ("caf", "", "é", " wor", "ld", ".")


def test_bytes_that_are_no_text_are_replaced_and_an_open_character_is_closed():
    assert transcript.to_pieces([5, 10, 3], VOCABULARY) == ("hello", "\ufffd", "\ufffd")


def test_leading_space_goes_even_when_it_is_a_token_of_its_own():
    assert transcript.to_pieces([11, 5], VOCABULARY) == ("", "hello")


def test_words_begin_at_spaces_and_hold_every_token():
    pieces = ("", "hello", ",", " wor", "ld", ".")
    assert transcript.word_spans(pieces) == [(0, 3), (3, 6)]
    assert transcript.word_spans(()) == []
    assert transcript.word_spans(("", " ")) == []


def test_confidence_is_the_geometric_mean():
    assert transcript.confidence([-0.1, -0.3]) == pytest.approx(0.8187, abs=1e-4)
    assert transcript.confidence([]) == 0.0


def test_most_tokens_grows_with_the_audio():
    assert transcript.most_tokens(16_000 * 10) == 65 + transcript.SPARE_TOKENS
    assert [transcript.most_tokens(16 * ms) for ms in (0, 200, 360, 450, 600, 700)] == [1, 3, 4, 5, 7, 8]


@pytest.mark.parametrize(
    ("tokens", "cut"),
    [
        ([7, 8, 9], None),
        ([1, 2, 3] * 2, None),
        ([9] + [1, 2, 3] * 4, None),
        ([9] + [1, 2, 3] * 5, 4),
        ([5, 4] + [6] * 8, 3),
        ([5, 4] + [6] * 7, None),
        ([0, *range(10, 20), *range(10, 20), *range(10, 20)], 11),
        ([0, *range(10, 20), *range(10, 20), *range(10, 19)], None),
    ],
)
def test_a_repeated_n_gram_is_cut_after_its_first_copy(tokens, cut):
    assert transcript.loop_start(tokens) == cut


@pytest.mark.parametrize(
    ("tokens", "cut"),
    [
        ([9, 1, 2, 3, 1, 2, 3], 4),
        ([9, 1, 2, 3, 1, 2, 3, 1], 4),
        ([9, 1, 2, 2], 3),
        ([9, 1, 2, 3, 1, 2], None),
        ([1, 2, 3, 1, 2, 3], 3),
    ],
)
def test_a_full_output_ends_before_its_second_copy(tokens, cut):
    assert transcript.loop_start(tokens, full=True) == cut


def test_only_latin_tokens_and_the_end_are_kept_filled_up_with_control_tokens():
    vocabulary = (b"", b"", b"", b" the", "é".encode(), "的".encode(), "ж".encode(), b"\xe7", "’".encode(), b"", b"")
    assert transcript.latin(vocabulary) == [2, 3, 4, 8]
    assert transcript.latin(vocabulary, 3) == [2, 3, 4, 8, 0, 1]


MERGES = {
    piece: token for token, piece in enumerate((b" ", b"a", b"b", b"c", b"ab", b" a", b"bc", b" ab", b"\xc3", b"\xa9"))
}


def test_a_mark_that_is_written_twice_stands_once():
    assert transcript.to_pieces([6, 8, 8, 6, 8, 8, 8], VOCABULARY) == ("wor", ".", "", " wor", ".", "", "")
    assert transcript.to_pieces([6, 7, 7], VOCABULARY) == ("wor", "ld", "ld")


MARKED = (b"", b"", b"", b" in", b" short", b",,", b",", b" ,", b" the", b"...", b".", b"?", b"??", b',"', b" ")


@pytest.mark.parametrize(
    ("said", "text"),
    [
        ("in| short|,,| the", "in short, the"),
        ("in| short|,|,,| the", "in short, the"),
        ("in| short|,| ,| the", "in short, the"),
        ("in| short|,| |,| the", "in short,  the"),
        ("in|?|??", "in?"),
        ('in|,|,"| the', 'in," the'),
        ("in|...| the", "in... the"),
        ("in|.|...| the", "in. the"),
        ("in|,|.", "in,."),
    ],
)
def test_a_mark_stands_once_in_whatever_pieces_it_is_written(said, text):
    tokens = [MARKED.index(piece.encode(), 3) for piece in f" {said}".split("|")]
    assert "".join(transcript.to_pieces(tokens, MARKED)) == text


@pytest.mark.parametrize("tokens", [[5], [6, 6], [7], [9, 10], [14]])
def test_marks_without_a_word_are_no_text(tokens):
    assert transcript.to_pieces(tokens, MARKED) == ("",) * len(tokens)


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("", []),
        (" ab", [b" ", b"ab"]),  # "ab" is the earlier of the two, and then nothing joins
        ("abc", [b"ab", b"c"]),
        ("bca", [b"bc", b"a"]),
        (" aab", [b" a", b"ab"]),
        ("a\u00e9a", [b"a", b"\xc3", b"\xa9", b"a"]),
        ("a\u4e2da", [b"a", b"a"]),  # a character of which the vocabulary has nothing
    ],
)
def test_text_becomes_the_models_own_tokens(text, pieces):
    ids = {piece: token for piece, token in MERGES.items() if piece != b" ab"}
    assert transcript.to_tokens(text, ids) == [ids[piece] for piece in pieces]


def test_joints_go_on_until_nothing_joins():
    assert transcript.to_tokens(" ab", MERGES) == [MERGES[b" ab"]]
