"""What a caller can send at worst: Google's surface refuses it in its own words, and in little time."""

from time import process_time
from typing import Any

import pytest

from antiphon.core.endpoints import NeedsResource
from antiphon.core.errors import CallerError
from antiphon.core.jobs import NewJob
from antiphon.core.resources import Resource
from antiphon.core.wire import Opening
from antiphon.surfaces.google import messages, v2
from antiphon.surfaces.google.adaptation import MAX_REFERENCES
from antiphon.surfaces.google.batch import MAX_FILES, BatchRecognize
from antiphon.surfaces.google.dialect import V1, V2
from antiphon.surfaces.google.recognise import V1_REST, V2_REST, Recognize
from antiphon.surfaces.google.request import MAX_PHRASES

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
        v2.request_of(_config(phrase, items))
    assert process_time() - began < 1  # to write out each choice takes many seconds, and as many megabytes


def test_a_phrase_of_several_classes_stands_for_each_choice() -> None:
    assert v2.request_of(_config("${c} ${c}", ["a", "b"])).features.keyterms == ("a a", "a b", "b a", "b b")


def _batch(phrases: int) -> tuple[Any, int, float]:
    """Return what a batch of 15 files, each with 20 references to a stored set of so many phrases, is in the end; after
    how many references, and how many seconds.
    """
    name = "projects/p/locations/l/phraseSets/names"
    stored = messages.kind(V2.name("PhraseSet"))(name=name)
    for number in range(phrases):
        stored.phrases.add().value = f"phrase {number}"
    message = messages.kind(V2.name("BatchRecognizeRequest"))(recognizer="projects/p/locations/l/recognizers/_")
    message.config.auto_decoding_config.SetInParent()
    for number in range(MAX_FILES):
        file = message.files.add(uri=f"https://example.org/{number}")
        for _ in range(MAX_REFERENCES):
            file.config.adaptation.phrase_sets.add().phrase_set = name
    began, references = process_time(), 0
    try:
        asked = BatchRecognize().ask(Opening("POST", "/", request_id="0" * 32), message.SerializeToString())
        while isinstance(asked, NeedsResource):
            references += 1
            asked = asked.resolve(Resource(name, stored.SerializeToString()))
    except CallerError as error:
        return error, references, process_time() - began
    return asked, references, process_time() - began


def test_stored_sets_of_too_many_phrases_in_all_are_refused_before_they_are_read() -> None:
    error, references, _ = _batch(MAX_PHRASES)
    assert isinstance(error, CallerError)
    assert references == 2


def test_many_references_take_little_time() -> None:
    """Each is looked for where the last one was found, not from the beginning."""
    job, references, took_s = _batch(MAX_PHRASES // MAX_REFERENCES)
    assert isinstance(job, NewJob)
    assert references == MAX_FILES * MAX_REFERENCES
    assert took_s < 4


@pytest.mark.parametrize("phrase", ["a", "${c}"])
def test_no_phrase_is_left_out_after_many_equal_ones(phrase: str) -> None:
    config = _config(phrase, ["a"] * 500)
    phrases = config.adaptation.phrase_sets[0].inline_phrase_set.phrases
    for value in [phrase] * MAX_PHRASES + ["b"]:
        phrases.add().value = value
    with pytest.raises(CallerError, match="5000 phrases"):
        v2.request_of(config)
