from antiphon.core.subtitles import srt, vtt

CUES = [(0, 999, "One."), (59_999, 3_600_000, "Two\n\n --> three "), (360_000_001, 360_000_002, "R&B <i>")]


def test_srt() -> None:
    assert srt(CUES) == (
        "1\n00:00:00,000 --> 00:00:00,999\nOne.\n\n"
        "2\n00:00:59,999 --> 01:00:00,000\nTwo -> three\n\n"
        "3\n100:00:00,001 --> 100:00:00,002\nR&B <i>\n\n"
    )


def test_vtt() -> None:
    assert vtt(CUES) == (
        "WEBVTT\n\n"
        "00:00:00.000 --> 00:00:00.999\nOne.\n\n"
        "00:00:59.999 --> 01:00:00.000\nTwo --&gt; three\n\n"
        "100:00:00.001 --> 100:00:00.002\nR&amp;B &lt;i&gt;\n\n"
    )


def test_nothing_said() -> None:
    assert srt([]) == ""
    assert vtt([]) == "WEBVTT\n\n"
