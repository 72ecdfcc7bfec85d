import pytest

from antiphon.transports.http2_frames import MAX_A_SECOND, MAX_CONTINUATIONS, PREFACE, Flood, Frames, Kind, WrongSize
from http2_peer import CONTINUATION, DATA, END_HEADERS, GOAWAY, HEADERS, PING, SETTINGS, frame


@pytest.fixture
def frames():
    made = Frames()
    made.feed(PREFACE)
    assert made.take() == PREFACE
    return made


def taken(frames):
    found = []
    while (each := frames.take()) is not None:
        found.append(each)
    return found


def test_frames_come_whole_whatever_the_pieces(frames):
    sent = [frame(PING, 0, 0, bytes(8)), frame(DATA, 0, 1, b"x" * 300), frame(SETTINGS)]
    found = []
    for byte in b"".join(sent):
        frames.feed(bytes((byte,)))
        found += taken(frames)
    assert found == sent
    assert not frames.tick()


def test_a_preface_in_pieces_and_one_that_is_none():
    made = Frames()
    made.feed(PREFACE[:5])
    assert made.take() is None
    made.feed(PREFACE[5:])
    assert made.take() == PREFACE
    other = Frames()
    other.feed(b"GET /")
    assert other.take() == b"GET /"


def test_a_body_that_arrives_is_not_a_frame_that_does_not(frames):
    """Whenever one looks, a part of its next frame is there already."""
    body = frame(DATA, 0, 1, bytes(1000)) * 20
    for at in range(0, 19_000, 1500):
        frames.feed(body[at : at + 1500])
        taken(frames)
        assert not frames.tick()
    for byte in body[19_500:19_510]:
        frames.feed(bytes((byte,)))
        taken(frames)
        assert frames.tick()


def test_what_is_too_large_is_told_by_its_head(frames):
    head = (1 << 20).to_bytes(3) + bytes((DATA, 0)) + (1).to_bytes(4)
    frames.feed(head)
    assert frames.take() == head


def test_a_goaway_without_an_error_is_left_out(frames):
    frames.feed(frame(GOAWAY, 0, 0, bytes(8)) + frame(GOAWAY, 0, 0, bytes(7) + b"\x01") + frame(GOAWAY, 0, 1, bytes(8)))
    assert taken(frames) == [frame(GOAWAY, 0, 0, bytes(7) + b"\x01"), frame(GOAWAY, 0, 1, bytes(8))]


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind in MAX_A_SECOND])
def test_so_many_in_a_second(frames, kind):
    most = MAX_A_SECOND[kind]
    for _ in range(2):
        frames.feed(frame(kind, 0, 0, bytes(4)) * most)
        assert len(taken(frames)) == most
        frames.tick()
    frames.feed(frame(kind, 0, 0, bytes(4)) * (most + 1))
    with pytest.raises(Flood):
        taken(frames)


def test_blocks_of_headers_are_bounded(frames):
    frames.feed(frame(HEADERS, 0, 1, b"x") + frame(CONTINUATION, 0, 1, b"x") * MAX_CONTINUATIONS)
    taken(frames)
    assert frames.tick()
    frames.feed(frame(CONTINUATION, END_HEADERS, 1, b""))
    with pytest.raises(Flood):
        taken(frames)


def test_an_acknowledgement_of_settings_is_empty(frames):
    frames.feed(frame(SETTINGS, 1, 0, bytes(6)))
    with pytest.raises(WrongSize):
        frames.take()
