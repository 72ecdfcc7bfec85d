"""What a caller can send at worst: Google's surface refuses it in its own words, and in little time."""

from time import process_time
from typing import Any

import pytest

from antiphon.core.errors import CallerError
from antiphon.core.wire import Opening
from antiphon.surfaces.google import messages, v2
from antiphon.surfaces.google.dialect import V1, V2
from antiphon.surfaces.google.recognise import V1_REST, V2_REST, Recognize

BODY = b'{"config":{"autoDecodingConfig":{}},"content":"AAAA"}'
RECOGNIZE = Recognize(V2, rest=V2_REST[1])


def _config(phrase: str, items: list[str]) -> Any:
    config = messages.kind(V2.name("RecognitionConfig"))()
    config.auto_decoding_config.SetInParent()
    (made := config.adaptation.custom_classes.add()).name = "c"
    for item in items:
        made.items.add().value = item
    config.adaptation.phrase_sets.add().inline_phrase_set.phrases.add().value = phrase
    return config


def test_bytes_in_the_query_are_refused() -> None:
    opening = Opening("POST", "/v2/projects/p/locations/l/recognizers/_:recognize", (("content", "AAAA"),))
    with pytest.raises(CallerError, match="content"):
        RECOGNIZE.negotiate(opening, BODY)


def test_fields_of_the_query_that_are_messages_change_nothing() -> None:
    opening = Opening("POST", "/v1/speech:recognize", (("audio", "x"), ("config", "x")))
    body = b'{"config":{"languageCode":"en"},"audio":{"content":"AAAA"}}'
    assert Recognize(V1, rest=V1_REST[1]).negotiate(opening, body)


@pytest.mark.parametrize("items", [["", "a"], ["", ""], ["a", "b"], ["a" * 100, "b"]], ids=range(4))
@pytest.mark.parametrize("phrase", ["${c}" * 20_000, "x" * 100_000 + "${c}" * 40], ids=["classes", "text"])
def test_a_phrase_of_many_classes_is_refused_in_little_time(phrase: str, items: list[str]) -> None:
    began = process_time()
    with pytest.raises(CallerError):
        v2.asked(_config(phrase, items))
    assert process_time() - began < 1  # to write out each choice takes many seconds, and as many megabytes


def test_a_phrase_of_several_classes_stands_for_each_choice() -> None:
    assert v2.asked(_config("${c} ${c}", ["a", "b"])).features.keyterms == ("a a", "a b", "b a", "b b")
