"""Whatever comes, Amazon's surface answers in Amazon's words, and nothing it reads grows beyond its bounds."""

import json
from contextlib import suppress

from amazon_transcribe.eventstream import EventStreamBuffer
from hypothesis import given
from hypothesis import strategies as st
from signed_by_hand import OPTIONS, UNIX_MS, Signer, audio, frame, posted, presigned, text

from antiphon.core.errors import AntiphonError, EngineError
from antiphon.core.events import Audio, Cause, Closed, End, Failed, Final, Interim, Opened, Transcript, Word
from antiphon.core.wire import Opening, Response
from antiphon.surfaces.amazon import events
from antiphon.surfaces.amazon.live import SocketEndpoint, StreamEndpoint
from antiphon.surfaces.amazon.parameters import TABLE

headers = st.one_of(
    st.binary(max_size=60),
    st.lists(
        st.tuples(st.sampled_from([":date", ":event-type", ":message-type", "x"]), st.text(max_size=9)), max_size=5
    ).map(lambda pairs: b"".join(text(name, value) for name, value in pairs)),
    st.tuples(st.binary(min_size=1, max_size=3), st.integers(0, 10), st.binary(max_size=20)).map(
        lambda given: bytes((len(given[0]),)) + given[0] + bytes((given[1],)) + given[2]
    ),
)
frames = st.one_of(
    st.binary(max_size=64),
    st.builds(frame, headers, st.binary(max_size=40)),
    st.builds(audio, st.binary(max_size=40), st.sampled_from(["AudioEvent", "ConfigurationEvent", ""])),
)


def mangled(data: bytes, at: int, change: int) -> bytes:
    if not data:
        return data
    spoilt = bytearray(data)
    spoilt[at % len(data)] ^= change
    return bytes(spoilt)


@given(st.lists(st.one_of(frames, st.builds(mangled, frames, st.integers(0, 500), st.integers(1, 255))), max_size=6))
def test_frames_are_read_or_refused(pieces: list[bytes]) -> None:
    decoder = events.Decoder()
    for piece in pieces:
        try:
            for found in decoder.feed(piece):
                assert len(found.headers) <= events.MAX_HEADERS
                assert len(found.payload) <= len(b"".join(pieces))
        except AntiphonError:
            return
    assert decoder.waiting <= events.MAX_FRAME_BYTES + len(pieces[-1] if pieces else b"")


@given(st.lists(st.builds(audio, st.binary(max_size=30)), min_size=1, max_size=4), st.lists(st.integers(1, 40)))
def test_the_pieces_make_no_difference(sent: list[bytes], cuts: list[int]) -> None:
    decoder, data, payloads = events.Decoder(), b"".join(sent), []
    for cut in [*cuts, len(data)]:
        payloads += [each.payload for each in decoder.feed(data[:cut])]
        data = data[cut:]
    assert payloads == [events.decode(each).payload for each in sent]
    assert decoder.waiting == 0


@given(
    st.lists(
        st.tuples(st.text(st.characters(codec="ascii"), min_size=1, max_size=20), st.text(max_size=40)), max_size=5
    ),
    st.binary(max_size=100),
)
def test_what_is_written_is_read_by_the_sdk(named: list[tuple[str, str]], payload: bytes) -> None:
    wanted = dict(named)
    written = events.encode(list(wanted.items()), payload)
    buffer = EventStreamBuffer()
    buffer.add_data(written)
    (read,) = list(buffer)
    assert (read.headers, read.payload) == (wanted, payload)
    assert events.decode(written) == events.Frame(wanted, payload)


names = st.sampled_from([option.name for option in TABLE]) | st.text(max_size=12)
values = st.sampled_from(["true", "false", "en-US", "16000", "2", "pcm", "high", "", "x" * 300]) | st.text(max_size=12)
options = st.dictionaries(names, values, max_size=6).map(lambda given: {**OPTIONS, **given})
raw = st.dictionaries(
    st.sampled_from(["authorization", "x-amz-date", "x-amz-security-token", "host", "x-amz-content-sha256"]),
    st.text(max_size=60)
    | st.sampled_from(
        ["20240829T233755Z", "AWS4-HMAC-SHA256 Credential=a/b/c/d/e,SignedHeaders=host,Signature=" + "0" * 64]
    ),
)
signed_query = st.lists(
    st.tuples(
        st.sampled_from([f"X-Amz-{name}" for name in ("Algorithm", "Credential", "Date", "Expires", "Signature")]),
        st.text(max_size=30) | st.sampled_from(["AWS4-HMAC-SHA256", "60", "20240829T233755Z"]),
    ),
    max_size=8,
).map(tuple)


@given(raw, signed_query, st.sampled_from(["GET", "POST"]))
def test_credentials_that_make_no_sense(given: dict[str, str], query: tuple, method: str) -> None:
    opening = Opening(method, "/stream-transcription", query, given, (), "id", UNIX_MS)
    with suppress(AntiphonError):
        StreamEndpoint().credential(opening)


words = st.builds(Word, st.text(min_size=1, max_size=6), st.integers(0, 999), st.integers(0, 999), st.floats(0, 1))
transcripts = st.builds(
    lambda said: Transcript(" ".join(word.text for word in said), 0.5, tuple(said)), st.lists(words, max_size=4)
)
happenings = st.lists(
    st.one_of(
        frames,
        st.just(b""),
        st.text(max_size=9),
        st.just("signed"),
        st.builds(Interim, st.integers(0, 1), st.integers(0, 999), st.integers(0, 999), transcripts),
        st.builds(Final, st.integers(0, 1), st.integers(0, 999), st.integers(0, 999), transcripts, st.just(Cause.END)),
        st.sampled_from([Opened("tiny"), Closed(1, 1, "0"), Failed(EngineError("x")), 20_000]),
    ),
    max_size=20,
)


@given(options, st.booleans(), happenings)
def test_streams(asked: dict[str, str], over_http2: bool, happens: list) -> None:
    opening = (posted if over_http2 else presigned)(asked)
    endpoint = StreamEndpoint() if over_http2 else SocketEndpoint()
    try:
        surface = endpoint.negotiate(opening).surface
    except AntiphonError as error:
        step = endpoint.refuse(opening, error)
        assert isinstance(step, Response) == over_http2
        if isinstance(step, Response):
            assert set(json.loads(step.body)) == {"Message"}
        return
    signer, now_ns, ended = Signer(opening), 0, False
    for happening in happens:
        if happening == "signed":
            happening = signer.event(audio(b"ab"), UNIX_MS + now_ns // 1_000_000)
        if isinstance(happening, int):
            now_ns += happening * 1_000_000
            step = surface.expire(now_ns)
        elif isinstance(happening, str | bytes):
            step = surface.receive(happening, now_ns)
        else:
            step = surface.emit(happening, now_ns)
        assert not (ended and (step.inputs or step.sends or step.close))
        assert all(isinstance(given, Audio | End) for given in step.inputs)
        for send in step.sends:
            buffer = EventStreamBuffer()
            buffer.add_data(send)
            (event,) = list(buffer)
            assert isinstance(json.loads(event.payload), dict)
        ended = ended or step.close is not None
