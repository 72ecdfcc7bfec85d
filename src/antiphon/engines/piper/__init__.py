"""A voice on this machine: a Piper voice's weights, run in pieces so that speech comes out before all is computed.

`piper-tts` (GPL-3.0, the package's extra `piper`) turns text into phonemes. It is imported by nothing but the voice's
own process (`worker`), which the server's side (`voice`) speaks to by messages over one socket (`messages`), and by
the processes that read texts for it (`engines.espeak`).
"""

from antiphon.engines.piper.voice import PiperSettings, PiperStats, PiperVoice

__all__ = ["PiperSettings", "PiperStats", "PiperVoice"]
