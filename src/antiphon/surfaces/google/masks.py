"""Field masks (AIP-134, AIP-161): which fields of one message replace those of another."""

from typing import Any

from antiphon.core.errors import CallerError


def overridden(base: Any, changes: Any, mask: Any | None, param: str) -> Any:
    """Return `base` with fields of `changes`: without a mask all that are set, else those in the mask, set or not; with
    the mask `*` return `changes`. Raises `CallerError` for an unknown field.
    """
    if mask is not None and "*" in mask.paths:
        return changes
    made = type(changes)()
    made.CopyFrom(base)
    if mask is None:
        override(made, changes)
        return made
    try:
        mask.MergeMessage(_with_holders(changes, mask), made, replace_message_field=True, replace_repeated_field=True)
    except (ValueError, KeyError):
        raise CallerError(f"`{param}` names a field that there is not.", param=param) from None
    return made


def _with_holders(changes: Any, mask: Any) -> Any:
    """Return `changes` with the parent messages of all masked fields present, so that a field in an absent message
    counts as not set.
    """
    made = type(changes)()
    made.CopyFrom(changes)
    for path in mask.paths:
        holder = made
        for name in path.split(".")[:-1]:
            field = holder.DESCRIPTOR.fields_by_name.get(name)
            if field is None or field.message_type is None or field.is_repeated:
                break
            holder = getattr(holder, name)
            holder.SetInParent()
    return made


def override(made: Any, changes: Any) -> None:
    """Copy all fields that are set into the other message. Lists and maps are replaced."""
    for field, value in changes.ListFields():
        if field.is_repeated:
            made.ClearField(field.name)
            getattr(made, field.name).MergeFrom(value)
        elif field.message_type is None:
            setattr(made, field.name, value)
        elif made.HasField(field.name):
            override(getattr(made, field.name), value)
        else:
            getattr(made, field.name).SetInParent()
            getattr(made, field.name).CopyFrom(value)
