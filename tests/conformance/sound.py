"""What came of a text: whether it is speech, and how long it lasts."""

import io

import av


def length_s(data: bytes, codec: str, rate: int | None = None) -> float:
    """Of a file in that codec and rate, whole and decodable; it holds speech, not silence."""
    with av.open(io.BytesIO(data)) as container:
        stream = container.streams.audio[0]
        context = stream.codec_context
        assert context.name.removesuffix("float") == codec
        assert context.channels == 1
        assert rate in (None, context.sample_rate)
        resampler = av.AudioResampler("s16", "mono", context.sample_rate)
        pcm = b"".join(
            bytes(piece.planes[0])[: piece.samples * 2]
            for frame in [*container.decode(stream), None]
            for piece in resampler.resample(frame)
        )
        assert_loud(pcm)
        return len(pcm) / 2 / context.sample_rate


def assert_loud(pcm: bytes) -> None:
    peak = max(abs(sample) for sample in memoryview(pcm).cast("h"))
    assert 2_000 < peak < 32_768
