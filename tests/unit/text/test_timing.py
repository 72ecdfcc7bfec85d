from dataclasses import dataclass

from antiphon.core.events import CharacterTime
from antiphon.text.timing import read_times, written_times


@dataclass
class Word:
    read: str
    start: int = 0
    end: int = 0


def shown(times: tuple[CharacterTime, ...]) -> list[tuple[str, int, int]]:
    return [(each.text, each.start_ms, each.end_ms) for each in times]


def test_written_characters_share_their_words_time_or_stand_in_the_pause() -> None:
    """ " A 12." begins at character 3 of its text; "12" is read as two words."""
    words = [Word("a", 4, 5), Word("twelve", 6, 8), Word("teen.", 6, 9)]
    times = [(100, 200), (240, 300), (310, 360)]
    assert shown(written_times(" A 12.", 3, words, times, 50, 500)) == [
        (" ", 50, 100),
        ("A", 100, 200),
        (" ", 200, 240),
        ("1", 240, 280),
        ("2", 280, 320),
        (".", 320, 360),
    ]


def test_white_space_that_was_given_out_before_is_not_given_out_again() -> None:
    """The first word stands for a dash before it, too, and for the space before that."""
    words = [Word("a", 7, 11), Word("b", 12, 13)]
    assert shown(written_times("- A B", 8, words, [(10, 40), (40, 50)], 0, 50)) == [
        ("-", 10, 20),
        (" ", 20, 30),
        ("A", 30, 40),
        (" ", 40, 40),
        ("B", 40, 50),
    ]


def test_what_follows_on_the_last_word_lasts_to_the_end() -> None:
    assert shown(written_times("A. ", 0, [Word("a", 0, 1)], [(10, 20)], 0, 60)) == [
        ("A", 10, 20),
        (".", 20, 40),
        (" ", 40, 60),
    ]


def test_words_as_they_are_read_are_apart_from_those_of_the_next_phrase() -> None:
    words = [Word("ab"), Word("c.")]
    assert shown(read_times(words, [(0, 20), (40, 80)])) == [
        ("a", 0, 10),
        ("b", 10, 20),
        (" ", 20, 40),
        ("c", 40, 60),
        (".", 60, 80),
        (" ", 80, 80),
    ]
    assert read_times([], []) == ()
