"""Deepgram's listen API: `live` is the WebSocket, `prerecorded` the HTTP request, `parameters` what both understand."""
