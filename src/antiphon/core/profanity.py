"""Words that a caller may want masked: a short list, English only."""

# Of each word all forms that end so; a few have forms that are other words, so these stand with their own ends.
_STEMS = ("fuck", "motherfuck", "shit", "bullshit", "cocksuck", "asshole", "arsehole", "dickhead", "faggot", "nigger")
_WHOLE = ("cunt", "bitch", "bastard", "wanker", "twat", "slut", "whore", "nigga", "prick")
_ENDINGS = ("", "s", "es", "y", "ty", "ier", "er", "ers", "ed", "in", "in'", "ing", "s'", "'s")
PROFANITIES = frozenset(
    (
        *(stem + ending for stem in _STEMS for ending in _ENDINGS),
        *(word + ending for word in _WHOLE for ending in ("", "s", "es", "'s")),
        *("shitting", "bitching", "bitchy", "bastardly"),
    )
)


def is_profane(word: str) -> bool:
    """Whether a word without the marks around it is on the list, in any case."""
    return word.replace("’", "'").lower() in PROFANITIES
