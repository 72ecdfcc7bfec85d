"""Text to phonemes with espeak-ng, as in `piper-tts` (GPL-3.0), in a process of its own for each text.

espeak-ng corrupts its memory on some texts, so each text is read in a child that is forked for it and confined (see
`confined.forks`), and the child's answer is checked. The processes belong to a voice's process and end with it.
"""
