"""The load generator: real-time streams against any server that speaks Deepgram's live protocol, and what they show.

A leaf that only the command line uses. `speech` finds what was said when, `schedule` decides what is sent when,
`client` sends and listens, `measure` compares; all but `client`, `clips`, `process` and `plot` are pure. It is written
to be light, because it usually shares the machine with the server it measures.
"""
