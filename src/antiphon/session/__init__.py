"""The one door to all calls, and what is known of the calls that are open. Read `door.py` first."""
