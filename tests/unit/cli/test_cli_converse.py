"""What `antiphon converse` prints of a conversation."""

import pytest

from antiphon.bench.realtime import Event
from antiphon.cli.converse import _Shown


def test_both_sides_and_errors_are_printed_a_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    shown = _Shown()
    failed = {"status": "failed", "status_details": {"type": "failed", "error": {"message": "The budget is used up."}}}
    for event in (
        Event("conversation.item.input_audio_transcription.completed", transcript="Hello.\x1b[2J"),
        Event("response.output_audio_transcript.delta", delta="Good "),
        Event("response.output_audio_transcript.delta", delta="day."),
        Event("response.done", response={"status": "completed", "status_details": None}),
        Event("response.done", response=failed),
        Event("error", error={"message": "No such voice."}),
    ):
        shown.show(event)
    assert capsys.readouterr().out.splitlines() == [
        "you: Hello.[2J",
        "model: Good day.",
        "error: The budget is used up.",
        "error: No such voice.",
    ]
