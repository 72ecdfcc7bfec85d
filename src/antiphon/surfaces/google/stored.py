"""The methods on stored resources (AIP-131 to 136): named settings, which calls refer to. In v2 deleted ones can be
restored for a time (AIP-164), and the answer to a change is an operation that is done already; it is not kept. In v1
deleted ones are gone at once, and the answer to a change is the resource.
"""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from antiphon.core.errors import CallerError, Conflict, NotFound
from antiphon.core.resources import Change, ManyResources, OneResource, Resource, ResourceChange
from antiphon.core.wire import Opening, Step
from antiphon.surfaces.google import messages, names, v2
from antiphon.surfaces.google.endpoint import LookupMethod, Rest
from antiphon.surfaces.google.families import Family
from antiphon.surfaces.google.masks import overridden
from antiphon.surfaces.google.operation import OPERATION, timestamp
from antiphon.surfaces.google.status import AlreadyExists, FailedPrecondition

DELETED_MS = 30 * 86_400_000  # after its deletion a resource can be restored for so long


def not_found(name: str) -> NotFound:
    return NotFound(f"{name!r} not found.", param="name")


class _Method(LookupMethod):
    """A method of a family."""

    verb = ""

    def __init__(self, family: Family, *, first: bool = False, rest: Rest | None = None) -> None:
        super().__init__(first=first, rest=rest)
        self.family = family
        self.request = f"{family.package}.{self.verb}{self._what}Request"

    @property
    def _what(self) -> str:
        return self.family.noun


class Get(_Method):
    """The method that returns a resource, in v2 even if it was deleted."""

    verb = "Get"

    def ask(self, opening: Opening, body: bytes) -> OneResource:
        family = self.family
        name = family.name(self.read(opening, body).name)

        def tell(resource: Resource) -> Step:
            if family.first and resource.deleted:
                raise not_found(name)
            return self.answer(opening, family.shown(resource))

        return OneResource(family.kind, name, tell)


class List(_Method):
    """The method that lists the resources of a project and location, by name."""

    verb = "List"

    @property
    def _what(self) -> str:
        return self.family.plural

    def ask(self, opening: Opening, body: bytes) -> ManyResources:
        family, message = self.family, self.read(opening, body)
        prefix = f"{names.parent(message.parent)}/{family.collection}/"
        limit = names.page_size(message.page_size, family.listed, family.most)
        after = names.after(message.page_token)
        deleted: bool = getattr(message, "show_deleted", False)

        def tell(found: Sequence[Resource], more: bool) -> Step:
            made = messages.kind(f"{family.package}.List{family.plural}Response")()
            getattr(made, family.fields).extend(map(family.shown, found))
            if more:
                made.next_page_token = names.page_token(found[-1].name)
            return self.answer(opening, made)

        return ManyResources(family.kind, prefix, after, limit, deleted, tell)


class _Changing(_Method):
    """A method that changes a resource, and is answered with an operation, in v1 with the resource."""

    def ask(self, opening: Opening, body: bytes) -> ResourceChange:
        message = self.read(opening, body)
        name, change = self._change(opening, message)
        tell = partial(self._tell, opening, message, name)
        preview: bool = getattr(message, "validate_only", False)
        return ResourceChange(self.family.kind, name, change, preview, tell)

    @abstractmethod
    def _change(self, opening: Opening, message: Any) -> tuple[str, Change]:
        """Return the resource's name and the change. Raises `CallerError`."""

    def _tell(self, opening: Opening, message: Any, name: str, resource: Resource | None) -> Step:
        family = self.family
        if family.first:
            return self.answer(opening, self._shown(resource))
        parent = names.resource(name, family.collection)[1]
        made = messages.kind(OPERATION)(name=f"{parent}/operations/{opening.request_id}", done=True)
        now = timestamp(opening.received_unix_ms)
        metadata = messages.kind(f"{v2.PACKAGE}.OperationMetadata")(
            create_time=now,
            update_time=now,
            resource=name,
            method=f"{v2.PACKAGE}.Speech.{self.method}",
            progress_percent=100,
        )
        getattr(metadata, f"{self.verb.lower()}_{family.field}_request").CopyFrom(message)
        made.metadata.CopyFrom(messages.packed(metadata))
        made.response.CopyFrom(messages.packed(self._shown(resource)))
        return self.answer(opening, made)

    def _shown(self, resource: Resource | None) -> Any:
        return self.family.shown(Resource("", b"") if resource is None else resource)

    def _of_one(
        self, name: str, etag: str, change: Callable[[Any], None], *, deleted: bool = False, ends_ms: int | None = None
    ) -> Change:
        """Return a change of an existing resource, which must have this etag, if any, and must be deleted or not, as
        `deleted` says. It is kept for `ends_ms` if the change deletes it (`None`: it does not).
        """
        family = self.family

        def changed(before: Resource | None, now_unix_ms: int) -> Resource:
            if before is None or (family.first and before.deleted):
                raise not_found(name)
            if before.deleted and not deleted:
                raise FailedPrecondition(f"{family.noun} {name} was deleted.")
            if deleted and not before.deleted:
                raise AlreadyExists(f"{family.noun} {name} is not deleted.")
            message = family.read(before)
            if etag and etag != message.etag:
                raise Conflict("The etag is not that of the resource as it is.", param="etag")
            change(message)
            return family.resource(message, now_unix_ms, ends_ms)

        return changed


class Create(_Changing):
    """The method that creates a resource. Without an id it gets one."""

    verb = "Create"

    def _change(self, opening: Opening, message: Any) -> tuple[str, Change]:
        family, param = self.family, f"{self.family.field}_id"
        name = family.new_name(message.parent, getattr(message, param), f"r-{opening.request_id}")
        resource = family.settings(getattr(message, family.field))
        family.checked(resource)

        def change(before: Resource | None, now_unix_ms: int) -> Resource:
            if before is not None:
                raise AlreadyExists(f"{family.noun} {name} already exists.", param=param)
            resource.name, resource.uid, resource.state = name, opening.request_id, family.state("ACTIVE")
            resource.create_time.CopyFrom(timestamp(now_unix_ms))
            return family.resource(resource, now_unix_ms)

        return name, change


class Update(_Changing):
    """The method that changes the fields of a resource that the mask names."""

    verb = "Update"

    def _change(self, opening: Opening, message: Any) -> tuple[str, Change]:
        family, mask = self.family, message.update_mask
        resource = getattr(message, family.field)
        name = family.name(resource.name, f"{family.field}.name")
        for path in mask.paths:
            if path != "*" and path.partition(".")[0] not in family.settable:
                raise CallerError(f"`{path[:64]}` cannot be updated.", param="update_mask")
        etag: str = getattr(resource, "etag", "")
        wanted = family.settings(resource)

        def change(stored: Any) -> None:
            after = overridden(family.settings(stored), wanted, mask if mask.paths else None, "update_mask")
            family.checked(after)
            for path in family.settable:
                stored.ClearField(path)
            stored.MergeFrom(after)

        return name, self._of_one(name, etag, change)


class Delete(_Changing):
    """The method that deletes a resource: calls cannot refer to it. In v2 it is gone after `expire_time`, unless
    restored; in v1 at once.
    """

    verb = "Delete"

    def _change(self, opening: Opening, message: Any) -> tuple[str, Change]:
        family = self.family
        name, etag = family.name(message.name), getattr(message, "etag", "")
        ends_ms = 0 if family.first else DELETED_MS
        delete = self._of_one(name, etag, lambda stored: None, ends_ms=ends_ms)

        def change(before: Resource | None, now_unix_ms: int) -> Resource | None:
            if before is not None and not before.deleted:
                return delete(before, now_unix_ms)
            if getattr(message, "allow_missing", False):
                return before
            raise not_found(name)

        return name, change

    def _shown(self, resource: Resource | None) -> Any:
        return messages.kind("google.protobuf.Empty")() if self.family.first else super()._shown(resource)


class Undelete(_Changing):
    """The method that restores a deleted resource."""

    verb = "Undelete"

    def _change(self, opening: Opening, message: Any) -> tuple[str, Change]:
        name = self.family.name(message.name)
        return name, self._of_one(name, message.etag, lambda stored: None, deleted=True)


def methods(family: Family) -> tuple[Callable[..., LookupMethod], ...]:
    """Return the methods of a family. v1 restores nothing."""
    return (Get, List, Create, Update, Delete) if family.first else (Get, List, Create, Update, Delete, Undelete)
