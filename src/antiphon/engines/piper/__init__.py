"""A Piper voice on this machine, run in pieces so that speech begins before all of it is computed.

`piper-tts` (GPL-3.0, the package's extra `piper`) turns text into phonemes. Only the voice's own process (`worker`),
with which the server's side (`voice`) exchanges messages over one socket (`messages`), and the processes that read
texts for it (`engines.espeak`) import it.
"""

from antiphon.engines.piper.voice import PiperSettings, PiperStats, PiperVoice

__all__ = ["PiperSettings", "PiperStats", "PiperVoice"]
