"""Recognition in the form of Deepgram's results, live and of files.

Without `punctuate` the transcript and its words are bare and lower case. With it the transcript is the model's text,
`word` is bare, and `punctuated_word` is as the model wrote it. A separate punctuation mark (a dash) is no word.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from uuid import NAMESPACE_URL, uuid5

from antiphon.core.events import Closed, Transcript, Word
from antiphon.core.rewriting import bare
from antiphon.core.text import join, plain
from antiphon.surfaces.deepgram import wire
from antiphon.surfaces.deepgram.parameters import Request

CONFIDENCE_DIGITS = 6
# A paragraph ends at a pause of the speaker, or after so many sentences.
PARAGRAPH_PAUSE_MS = 2_000
PARAGRAPH_SENTENCES = 5
_SENTENCE_ENDS = (".", "?", "!")
_CLOSING = "\"'”’)]"
_TITLES = frozenset(("mr.", "mrs.", "ms.", "dr.", "st.", "prof."))

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def seconds(ms: int) -> float:
    return ms / 1000


def created(unix_ms: int) -> str:
    """Return a time such as `2024-08-29T22:37:55.202Z`."""
    return (_EPOCH + timedelta(milliseconds=unix_ms)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def model_uuid(model: str) -> str:
    """Return a UUID made from a model's name; our models have names only."""
    return str(uuid5(NAMESPACE_URL, f"urn:antiphon:model:{model}"))


def model_info(model: str) -> wire.ModelInfo:
    return wire.ModelInfo(name=model, version="latest", arch=model)


def wire_words(words: Sequence[Word], *, punctuate: bool) -> list[wire.Word]:
    return [
        wire.Word(
            word=written,
            start=seconds(word.start_ms),
            end=seconds(word.end_ms),
            confidence=round(word.confidence, CONFIDENCE_DIGITS),
            punctuated_word=word.text if punctuate else None,
        )
        for word in words
        if (written := bare(word))
    ]


def alternative(transcript: Transcript, *, punctuate: bool) -> wire.Alternative:
    text = transcript.text if punctuate else _bare_text(transcript)
    return wire.Alternative(
        transcript=text,
        confidence=round(transcript.confidence, CONFIDENCE_DIGITS) if text else 0.0,
        words=wire_words(transcript.words, punctuate=punctuate),
    )


def _bare_text(transcript: Transcript) -> str:
    """Return the bare text, made of the words if there are any, since words may have been rewritten."""
    return join(map(bare, transcript.words)) if transcript.words else plain(transcript.text)


def summary(request: Request, request_id: str, received_unix_ms: int, model: str, closed: Closed) -> wire.Summary:
    uuid = model_uuid(model)
    return wire.Summary(
        transaction_key=wire.TRANSACTION_KEY,
        request_id=request_id,
        sha256=closed.sha256,
        created=created(received_unix_ms),
        duration=seconds(closed.audio_ms),
        channels=closed.channels,
        models=[uuid],
        model_info={uuid: model_info(model)},
        warnings=list(request.warnings) or None,
        extra=dict(request.extra) or None,
        tags=list(request.tags) or None,
    )


# -- of a whole file ---------------------------------------------------------------------------------------------------


def whole(transcripts: Sequence[Transcript], *, punctuate: bool, paragraphs: bool) -> wire.Alternative:
    """Return one channel's finals, in order, as one alternative. Its confidence is the mean of its words'."""
    words = [word for transcript in transcripts for word in transcript.words]
    texts = (transcript.text if punctuate else _bare_text(transcript) for transcript in transcripts)
    return wire.Alternative(
        transcript=join(texts),
        confidence=_mean_confidence(words),
        words=wire_words(words, punctuate=punctuate),
        paragraphs=_paragraphs(words) if paragraphs else None,
    )


def utterances(
    words: Sequence[Word], *, channel: int, split_ms: int, punctuate: bool, request_id: str
) -> list[wire.Utterance]:
    """Return one channel's words, split at pauses of `split_ms` or more."""
    return [
        wire.Utterance(
            start=seconds(run[0].start_ms),
            end=seconds(run[-1].end_ms),
            confidence=_mean_confidence(run),
            channel=channel,
            transcript=_text(run) if punctuate else join(map(bare, run)),
            words=wire_words(run, punctuate=punctuate),
            id=str(uuid5(NAMESPACE_URL, f"urn:antiphon:utterance:{request_id}:{channel}:{index}")),
        )
        for index, run in enumerate(_cut_at_pauses(words, split_ms))
    ]


def _paragraphs(words: Sequence[Word]) -> wire.Paragraphs:
    """Return paragraphs; as with Deepgram, the text begins with a line break, with an empty line between paragraphs."""
    groups = list(_paragraph_groups(words))
    text = "\n\n".join(join(map(_text, group)) for group in groups)
    return wire.Paragraphs(
        transcript=f"\n{text}" if text else "",
        paragraphs=[
            wire.Paragraph(
                sentences=[
                    wire.Sentence(_text(sentence), seconds(sentence[0].start_ms), seconds(sentence[-1].end_ms))
                    for sentence in group
                ],
                num_words=sum(len(sentence) for sentence in group),
                start=seconds(group[0][0].start_ms),
                end=seconds(group[-1][-1].end_ms),
            )
            for group in groups
        ],
    )


def _paragraph_groups(words: Sequence[Word]) -> Iterator[list[list[Word]]]:
    group: list[list[Word]] = []
    for sentence in _sentences(words):
        rested = bool(group) and sentence[0].start_ms - group[-1][-1].end_ms >= PARAGRAPH_PAUSE_MS
        if rested or len(group) == PARAGRAPH_SENTENCES:
            yield group
            group = []
        group.append(sentence)
    if group:
        yield group


def _sentences(words: Sequence[Word]) -> Iterator[list[Word]]:
    sentence: list[Word] = []
    for word in words:
        sentence.append(word)
        tail = word.text.rstrip(_CLOSING)
        if tail.endswith(_SENTENCE_ENDS) and tail.lower() not in _TITLES:
            yield sentence
            sentence = []
    if sentence:
        yield sentence


def _cut_at_pauses(words: Sequence[Word], pause_ms: int) -> Iterator[list[Word]]:
    run = list(words[:1])
    for before, word in pairwise(words):
        if word.start_ms - before.end_ms >= pause_ms:
            yield run
            run = []
        run.append(word)
    if run:
        yield run


def _text(words: Sequence[Word]) -> str:
    return join(word.text for word in words)


def _mean_confidence(words: Sequence[Word]) -> float:
    if not words:
        return 0.0
    return round(sum(word.confidence for word in words) / len(words), CONFIDENCE_DIGITS)
