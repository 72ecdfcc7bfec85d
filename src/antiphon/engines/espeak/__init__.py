"""Text to phonemes with espeak-ng, as `piper-tts` brings it (GPL-3.0): in processes of their own, one for each text.

espeak-ng corrupts its memory on some texts, so each text is read in a child that is forked for it and confined (see
`confined.forks`), and what the child answers is checked. The processes belong to a voice's process and end with it.
"""
