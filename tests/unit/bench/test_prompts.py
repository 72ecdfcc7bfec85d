from pathlib import Path

import pytest

from antiphon.bench.prompts import built_in, read
from antiphon.core.errors import CallerError


def test_there_are_sixty_prompts_of_our_own_all_different_and_of_all_lengths() -> None:
    prompts = [str(messages[0]["content"]) for messages in built_in()]
    assert len(set(prompts)) == 60
    lengths = sorted(len(prompt) for prompt in prompts)
    assert lengths[0] < 20
    assert lengths[-1] > 1_000
    assert any(400 < length < 700 for length in lengths)
    # Any twelve in a row hold short and long ones.
    for at in range(0, 60, 12):
        some = [len(prompt) for prompt in prompts[at : at + 12]]
        assert min(some) < 60
        assert max(some) > 200


def test_lines_hold_a_prompt_or_messages(tmp_path: Path) -> None:
    path = tmp_path / "asked.jsonl"
    path.write_text('{"prompt":"Hi","id":3}\n\n{"messages":[{"role":"system","content":"Be short."}]}\n')
    assert read(path) == [[{"role": "user", "content": "Hi"}], [{"role": "system", "content": "Be short."}]]


def test_of_a_shared_conversation_the_first_human_turn_is_asked(tmp_path: Path) -> None:
    path = tmp_path / "shared.json"
    path.write_text(
        '[{"id":"a","conversations":[{"from":"gpt","value":"?"},{"from":"human","value":"One"},'
        '{"from":"human","value":"Two"}]},{"conversations":[{"from":"gpt","value":"alone"}]}]'
    )
    assert read(path) == [[{"role": "user", "content": "One"}]]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "contains no prompts"),
        ("[]", "contains no prompts"),
        ('{"prompt":"a"}\n{"text":"b"}', "line 2: needs either"),
        ('{"prompt":"a","messages":[]}', "line 1: needs either"),
        ("prompt", "line 1"),
        ('[{"text":"a"}]', "conversations"),
    ],
)
def test_anything_else_is_refused(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "asked"
    path.write_text(content)
    with pytest.raises(CallerError, match=said):
        read(path)


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(CallerError, match="No such file"):
        read(tmp_path / "missing")
