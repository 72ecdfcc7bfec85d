"""What OpenAI's SDK and frameworks ask a model for: an answer of a type, and the call of a tool."""

from typing import Literal

from pydantic import BaseModel


class Fruit(BaseModel):
    """A fruit."""

    name: Literal["apple", "banana", "cherry"]
    ripe: bool


def get_weather(city: Literal["Paris", "Rome"]) -> str:
    """The weather in a city."""
    return f"Rain in {city}."
