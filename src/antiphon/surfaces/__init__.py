"""Vendors' wire protocols, each translated to and from the server's own terms; sans-I/O, independent of each other."""
