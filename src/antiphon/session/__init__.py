"""One caller's call from open to close. Read `session.py` first."""
