"""Words that a caller may want masked: a short list, English only."""

# Stems take all endings; words of `_WHOLE` take few, because some of their other forms are different words.
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
    """Return whether a word without surrounding punctuation is on the list, in any case."""
    return word.replace("’", "'").lower() in PROFANITIES
