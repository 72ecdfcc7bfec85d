import string

import pytest

from antiphon.trust import keys


def test_a_minted_key_has_the_form_and_its_id():
    key_id, key = keys.mint()
    assert keys.parse(key) == keys.Parsed(key_id, intact=True)
    assert key.startswith(keys.shown(key_id) + "_")
    assert set(key) <= set(string.ascii_letters + string.digits + "_")


def test_minted_keys_differ():
    assert len({keys.mint()[1] for _ in range(100)}) == 100


def test_the_secret_has_160_bits():
    assert 62**keys.SECRET_LENGTH > 2**keys.SECRET_BITS > 62 ** (keys.SECRET_LENGTH - 1)
    assert keys._base62(2**keys.SECRET_BITS - 1, keys.SECRET_LENGTH) != keys._base62(0, keys.SECRET_LENGTH)


def test_every_single_typing_mistake_is_noticed():
    _, key = keys.mint()
    for place in range(len(keys.PREFIX) + 1, len(key)):
        wrong = key[:place] + ("x" if key[place] != "x" else "y") + key[place + 1 :]
        parsed = keys.parse(wrong)
        assert parsed is None or not parsed.intact


@pytest.mark.parametrize("text", ["", "ant_", "sk-123", "ant_12345678_" + "a" * 32, "ant_12345678_" + "a" * 33 + "\n"])
def test_what_is_not_of_the_form_is_not_parsed(text):
    assert keys.parse(text) is None
