"""The load generator: real-time streams against any server with Deepgram's live protocol, and their measurement.

Only the command line imports it. `speech` finds utterances, `schedule` decides what is sent when, `client` sends and
receives, `measure` compares; all but `client`, `clips`, `process` and `plot` are pure. It uses few resources, because
it usually shares the machine with the server that it measures.
"""
