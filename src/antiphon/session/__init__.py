"""The entry point of all calls, and the open calls. Read `door.py` first."""
