"""Signature Version 4 of openings and of events."""

import pytest
from signed_by_hand import KEY, OPTIONS, REQUEST_ID, UNIX_MS, Signer, audio, frame, posted, presigned

from antiphon.core.errors import InvalidSignature
from antiphon.core.events import Audio, End
from antiphon.core.wire import Opening, Signed
from antiphon.surfaces.amazon.live import SocketEndpoint, StreamEndpoint
from antiphon.surfaces.amazon.signing import MAX_SKEW_MS
from antiphon.trust.signatures import holds

MINUTE_MS, S_NS = 60_000, 1_000_000_000


def credential(opening):
    found = StreamEndpoint().credential(opening)
    assert isinstance(found, Signed)
    return found


@pytest.mark.parametrize(
    "opening",
    [
        posted(),
        posted(host=":authority"),
        posted(more=[("x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-EVENTS"), ("amz-sdk-invocation-id", "1")]),
        presigned(),
        presigned({**OPTIONS, "session-id": "a b+c&d=e/ü"}),
    ],
)
def test_what_was_signed_holds(opening):
    assert (credential(opening).id, credential(opening).secret) == ("me", KEY)
    assert holds(credential(opening), KEY)


@pytest.mark.parametrize("opening", [posted(secret="ant_other"), presigned(secret="ant_other")])
def test_another_secret_does_not(opening):
    assert not holds(credential(opening), KEY)


def changed(opening, **headers):
    return Opening(
        opening.method, opening.path, opening.query, {**opening.headers, **headers}, received_unix_ms=UNIX_MS
    )


def test_what_was_changed_does_not():
    given = posted()
    assert holds(credential(changed(given)), KEY)
    for name, value in {"host": "elsewhere", "x-amzn-transcribe-sample-rate": "8000"}.items():
        assert not holds(credential(changed(given, **{name: value})), KEY)
    url = presigned()
    query = tuple((name, "8000" if name == "sample-rate" else value) for name, value in url.query)
    assert not holds(credential(Opening("GET", url.path, query, url.headers, received_unix_ms=UNIX_MS)), KEY)
    assert not holds(credential(Opening("POST", url.path, url.query, url.headers, received_unix_ms=UNIX_MS)), KEY)


@pytest.mark.parametrize("skew_ms", [-MAX_SKEW_MS, MAX_SKEW_MS])
def test_five_minutes_are_allowed(skew_ms):
    second_ms = 1_000 if skew_ms > 0 else 0  # a signature's time is in whole seconds
    assert holds(credential(posted(received_ms=UNIX_MS - UNIX_MS % 1_000 + skew_ms)), KEY)
    with pytest.raises(InvalidSignature, match="expired" if skew_ms > 0 else "not yet"):
        credential(posted(received_ms=UNIX_MS - UNIX_MS % 1_000 + skew_ms + (second_ms or -1)))


def test_a_url_holds_until_it_expires():
    assert holds(credential(presigned(received_ms=UNIX_MS + 59_000)), KEY)
    with pytest.raises(InvalidSignature, match="expired"):
        credential(presigned(received_ms=UNIX_MS + 61_000))


@pytest.mark.parametrize("expires", ["", "0", "301", "-1", "1e2", "٣"])
def test_a_url_expires_within_five_minutes(expires):
    with pytest.raises(InvalidSignature):
        credential(presigned(expires=expires))


def with_authorization(old, new):
    given = posted()
    return changed(given, authorization=given.headers["authorization"].replace(old, new))


@pytest.mark.parametrize(
    "opening",
    [
        with_authorization("/transcribe/", "/s3/"),
        with_authorization("/aws4_request", ""),
        with_authorization("me/20", "/20"),
        with_authorization("20240829/", "20240828/"),
        with_authorization("Signature=", "Signature=x"),
        with_authorization("host;", ""),
        with_authorization("x-amz-date;", ""),
        with_authorization(";x-amzn-transcribe-sample-rate", ""),
        changed(posted(), **{"x-amz-date": "20240899T999999Z"}),
        changed(posted(), **{"x-amz-date": ""}),
        changed(posted(), **{"x-amzn-transcribe-session-id": "x"}),
        changed(posted(), authorization="AWS4-HMAC-SHA256"),
    ],
)
def test_what_makes_no_sense(opening):
    with pytest.raises(InvalidSignature):
        StreamEndpoint().credential(opening)


@pytest.mark.parametrize("sign", [posted, presigned])
def test_without_a_token_a_pair_has_signed(sign):
    found = credential(sign(secret="derived", token="", key="ant_01234567"))
    assert (found.id, found.secret) == ("ant_01234567", "")
    assert holds(found, "derived")
    surface, signer = opened(sign(secret="derived", token=""), "derived")
    assert surface.receive(signer.event(audio(b"ab")), 0).inputs == (Audio(b"ab"),)


def test_without_a_signature_there_is_no_credential():
    assert StreamEndpoint().credential(Opening("POST", "/stream-transcription")) is None


# -- events ------------------------------------------------------------------------------------------------------------


def opened(opening=None, secret=KEY):
    opening = opening or posted()
    endpoint = StreamEndpoint() if opening.method == "POST" else SocketEndpoint()
    return endpoint.negotiate(opening).surface, Signer(opening, secret)


def test_signed_events_one_after_the_other():
    surface, signer = opened()
    for n in range(5):
        assert surface.receive(signer.event(audio(b"ab"), UNIX_MS + n), 0).inputs == (Audio(b"ab"),)
    assert surface.receive(signer.event(b""), 0).inputs == (End(),)
    assert surface.receive(b"anything", 0).inputs == ()


def test_a_stream_may_cross_midnight_and_time_passes():
    surface, signer = opened()
    surface.receive(signer.event(audio(b"ab")), 0)
    for hours in (1, 5, 9):
        now_ms = hours * 60 * MINUTE_MS
        step = surface.receive(signer.event(audio(b"ab"), UNIX_MS + now_ms), now_ms * 1_000_000)
        assert step.inputs == (Audio(b"ab"),)


def refused(step):
    return step.inputs == () and step.close is not None and b"InvalidSignatureException" in step.sends[0]


def test_what_was_sent_again_changed_left_out_or_is_not_signed():
    surface, signer = opened()
    first = signer.event(audio(b"ab"))
    surface.receive(first, 0)
    assert refused(surface.receive(first, 0))

    surface, signer = opened()
    signer.event(audio(b"ab"))
    assert refused(surface.receive(signer.event(audio(b"cd")), 0))

    surface, _ = opened()
    assert refused(surface.receive(Signer(posted(), "ant_other").event(audio(b"ab")), 0))

    surface, _ = opened()
    assert refused(surface.receive(audio(b"ab"), 0))

    surface, signer = opened()
    assert refused(surface.receive(signer.event(audio(b"ab"), UNIX_MS - MAX_SKEW_MS - 1), 0))


def test_events_on_a_socket_may_be_signed():
    surface, signer = opened(presigned())
    assert surface.receive(audio(b"ab"), 0).inputs == (Audio(b"ab"),)
    assert surface.receive(signer.event(audio(b"cd")), 0).inputs == (Audio(b"cd"),)
    assert refused(surface.receive(Signer(presigned(), "ant_other").event(audio(b"ab")), 0))


def test_a_signed_event_holds_one():
    for payload in (audio(b"ab") * 2, audio(b"ab")[:-1], frame(b"")):
        surface, signer = opened()
        step = surface.receive(signer.event(payload), 0)
        assert step.close is not None
        assert b"BadRequestException" in step.sends[0]


def test_the_request_id_is_given_back():
    accepted = StreamEndpoint().negotiate(posted())
    assert dict(accepted.headers)["x-amzn-request-id"] == REQUEST_ID
