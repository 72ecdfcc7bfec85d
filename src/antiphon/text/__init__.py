"""Conversion of written text to the words that are read aloud."""
