"""AssemblyAI's APIs: `live` is the WebSocket, `tokens` its temporary tokens, `sync` whole recordings in one call,
`transcripts` recordings as jobs.
"""
