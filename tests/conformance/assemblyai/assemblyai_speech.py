"""Sentences, spoken by the server's own voice."""

import httpx

from serving import Server


def speak(server: Server, text: str = "The ship was painted blue.", **form: str) -> bytes:
    """The sentence in that form, raw without a container."""
    asked, query = {"text": text}, {"container": "none", **form}
    token = {"authorization": f"Token {server.api_key}"}
    spoken = httpx.post(f"{server.base_url}/v1/speak", params=query, headers=token, json=asked, timeout=60)
    assert spoken.status_code == 200, spoken.text
    return spoken.content
