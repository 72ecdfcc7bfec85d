"""Where Deepgram's SDK finds the server."""

from deepgram.environment import DeepgramClientEnvironment

from serving import Server


def environment(server: Server) -> DeepgramClientEnvironment:
    return DeepgramClientEnvironment(
        base=server.base_url, production=server.ws_url, agent=server.ws_url, agent_rest=server.base_url
    )
