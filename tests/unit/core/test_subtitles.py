from antiphon.core.subtitles import srt, vtt

CUES = [(0, 999, "One."), (59_999, 3_600_000, "Two\n\n --> three "), (360_000_001, 360_000_002, "R&B <i>")]


def test_srt() -> None:
    assert srt(CUES) == (
        "1\n00:00:00,000 --> 00:00:00,999\nOne.\n\n"
        "2\n00:00:59,999 --> 01:00:00,000\nTwo -> three\n\n"
        "3\n100:00:00,001 --> 100:00:00,002\nR&B <i>\n\n"
    )


def test_srt_in_lines() -> None:
    cues = [(0, 999, "One and two --> three"), (999, 2_000, "")]
    assert srt(cues, 7) == (
        "1\n00:00:00,000 --> 00:00:00,999\nOne and\ntwo ->\nthree\n\n2\n00:00:00,999 --> 00:00:02,000\n\n\n"
    )
    assert "Unbreakable\n" in srt([(0, 1, "Unbreakable")], 3)


def test_vtt() -> None:
    assert vtt(CUES) == (
        "WEBVTT\n\n"
        "00:00:00.000 --> 00:00:00.999\nOne.\n\n"
        "00:00:59.999 --> 01:00:00.000\nTwo --&gt; three\n\n"
        "100:00:00.001 --> 100:00:00.002\nR&amp;B &lt;i&gt;\n\n"
    )


def test_no_arrow_of_any_length_is_left_in_srt() -> None:
    assert "a -> b" in srt([(0, 1, "a ---> b")])
    assert srt([(0, 1, "a ----->> b --> c")]).count("-->") == 1


def test_nothing_said() -> None:
    assert srt([]) == ""
    assert vtt([]) == "WEBVTT\n\n"
