"""The models: which there are, and where their files are on this machine."""

from antiphon.models.catalog import CATALOG, Catalog, ModelEntry, ModelFile, Source
from antiphon.models.fetch import Progress, PullFailed
from antiphon.models.hub import is_hub_name
from antiphon.models.store import ModelAbsent, ModelDamaged, ModelStatus, Store

__all__ = [
    "CATALOG",
    "Catalog",
    "ModelAbsent",
    "ModelDamaged",
    "ModelEntry",
    "ModelFile",
    "ModelStatus",
    "Progress",
    "PullFailed",
    "Source",
    "Store",
    "is_hub_name",
]
