"""What a caller asks for, in our words. A surface makes one of these from its vendor's parameters."""

from dataclasses import dataclass, field

from antiphon.core.audio import AudioFormat

# Nobody waits for the end of an utterance in a recording, and words are heard better in context: on read speech, half
# as many are wrong as with 300 ms.
RECORDING_ENDPOINTING_MS = 800


@dataclass(frozen=True, slots=True)
class TranscribeSpec:
    """A transcription, live or of a whole recording.

    `model` is the public name the caller used. `multichannel` transcribes each channel on its own; otherwise they are
    mixed down. `endpointing_ms` is the silence that ends an utterance, `None` for never. `utterance_end_ms` is the
    silence after which `UtteranceEnded` is said, `None` for never. `incremental` says that finals are delivered as they
    come, each a result of its own; otherwise everything is one result at the end.
    """

    model: str
    format: AudioFormat = field(default_factory=AudioFormat)
    live: bool = False
    incremental: bool = False
    multichannel: bool = False
    interims: bool = False
    endpointing_ms: int | None = RECORDING_ENDPOINTING_MS
    utterance_end_ms: int | None = None
    speech_events: bool = False
    word_times: bool = False
    tokens: bool = False
    tags: tuple[str, ...] = ()
