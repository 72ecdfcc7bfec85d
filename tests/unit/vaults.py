"""The keys of projects, in a directory of a test's own."""

from antiphon.storage.master_key import find_source
from antiphon.stores.sqlite.directory import SqliteDirectory


def open_vault(path, environment=()):
    """The vault of a data directory, whose files are made if absent."""
    return SqliteDirectory(path, find_source(path, dict(environment))).vault()
