"""Vendors' wire protocols, each translated to and from our own vocabulary; sans-I/O, and strangers to each other."""
