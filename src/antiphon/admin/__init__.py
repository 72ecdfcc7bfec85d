"""The management API: projects, keys and usage, for people and tools that run a server."""

from antiphon.admin.api import create_admin

__all__ = ["create_admin"]
