"""Field masks (AIP-134, AIP-161): which fields of one message take the place of another's."""

from typing import Any

from antiphon.core.errors import CallerError


def overridden(base: Any, given: Any, mask: Any | None, param: str) -> Any:
    """What `base` is with the fields of `given` that count: all that are set where there is no mask, else those that it
    names, set or not; with `*` it is `given`. Raises `CallerError` for a field that there is not.
    """
    if mask is not None and "*" in mask.paths:
        return given
    made = type(given)()
    made.CopyFrom(base)
    if mask is None:
        override(made, given)
        return made
    try:
        mask.MergeMessage(_with_holders(given, mask), made, replace_message_field=True, replace_repeated_field=True)
    except (ValueError, KeyError):
        raise CallerError(f"`{param}` names a field that there is not.", param=param) from None
    return made


def _with_holders(given: Any, mask: Any) -> Any:
    """With the messages that hold what is named: what is not set in one that is not there counts as not set, too."""
    made = type(given)()
    made.CopyFrom(given)
    for path in mask.paths:
        holder = made
        for name in path.split(".")[:-1]:
            field = holder.DESCRIPTOR.fields_by_name.get(name)
            if field is None or field.message_type is None or field.is_repeated:
                break
            holder = getattr(holder, name)
            holder.SetInParent()
    return made


def override(made: Any, given: Any) -> None:
    """Puts all fields that are set into the other message. Lists and maps are replaced."""
    for field, value in given.ListFields():
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
