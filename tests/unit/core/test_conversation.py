from antiphon.core.conversation.spec import ConverseSpec, Turns, rebase


def test_what_changes_is_laid_over_what_holds():
    base = ConverseSpec("m", voice="nobody", instructions="a")
    wanted = ConverseSpec("m", voice="nobody", instructions="b", turns=None)
    now = ConverseSpec("m", voice="joe", instructions="a", turns=Turns(silence_ms=1))
    assert rebase(wanted, base, now) == ConverseSpec("m", voice="joe", instructions="b", turns=None)


def test_without_a_base_all_of_it_holds():
    assert rebase(ConverseSpec("m", voice="a"), None, ConverseSpec("m", speed=2.0)) == ConverseSpec("m", voice="a")
