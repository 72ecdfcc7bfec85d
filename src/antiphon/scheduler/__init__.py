"""Decides what runs next when many streams share one engine. Read `policy.py` first."""
