"""Voice activity with the Silero model on onnxruntime, for many streams in one call.

A frame is 512 samples (32 ms) of 16 kHz mono int16; the model also reads the 64 samples before it. A stream's state
is one immutable array: the recurrent state, then that context. One onnxruntime thread: the caller decides how many
threads there are.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from antiphon.core.errors import EngineError

if TYPE_CHECKING:
    pass

FRAME_SAMPLES = 512
_CONTEXT = 64
_HIDDEN = 256

State = NDArray[np.float32]  # (256 + 64,)


class SileroVad:
    """Implements `core.ports.VoiceDetector`."""

    def __init__(self, path: Path) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session: onnxruntime.InferenceSession = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime raises its own types, all of them plain exceptions
            raise EngineError(f"{path.name} is not a usable voice activity model") from error
        self._rate = np.array(16_000, np.int64)

    def initial_state(self) -> State:
        return np.zeros(_HIDDEN + _CONTEXT, np.float32)

    def probabilities(self, frames: Sequence[bytes], states: Sequence[State]) -> tuple[list[float], list[State]]:
        """The probability of speech in each frame, and each stream's next state."""
        if not frames:
            return [], []
        if any(len(frame) != 2 * FRAME_SAMPLES for frame in frames) or len(states) != len(frames):
            raise EngineError(f"voice activity takes {2 * FRAME_SAMPLES} bytes a frame and a state for each")
        before = np.stack(states)
        samples = np.frombuffer(b"".join(frames), "<i2").reshape(len(frames), FRAME_SAMPLES)
        window = np.empty((len(frames), _CONTEXT + FRAME_SAMPLES), np.float32)
        window[:, :_CONTEXT] = before[:, _HIDDEN:]
        np.multiply(samples, np.float32(1 / 32768), out=window[:, _CONTEXT:])
        recurrent = np.ascontiguousarray(before[:, :_HIDDEN].reshape(-1, 2, 128).transpose(1, 0, 2))
        inputs: dict[str, Any] = {"input": window, "state": recurrent, "sr": self._rate}
        speech, following = self._session.run(None, inputs)
        after = np.empty_like(before)
        after[:, :_HIDDEN] = following.transpose(1, 0, 2).reshape(-1, _HIDDEN)
        after[:, _HIDDEN:] = window[:, -_CONTEXT:]
        return speech[:, 0].tolist(), list(after)
