"""The protocols of live transcription from the clients' side, written independently of the server's code."""
