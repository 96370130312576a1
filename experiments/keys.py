"""How a key of the configuration is declared, and how the values given for it are checked.

Each is declared once, in one entry of a dataclass: its type and range, its line on the help page, and when it
is part of the hash that is a run's identity.  Nothing here imports torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar, get_args

from pydantic import ConfigDict, Field, Strict, ValidationError
from pydantic.fields import FieldInfo

from experiments.errors import UserError, nearest

METHOD, TASK, MODEL, LORA, TRAINING, KEEPING = "Method", "Task", "Model", "LoRA", "Training", "Keeping"
"""The sections of the help page."""
ALWAYS, USED, CHANGED, TRAINED, NEVER = "always", "used", "changed", "trained", "never"
"""When a key is part of the hash: USED where the method has a use for it, CHANGED where besides it is not at
its default (it came later than runs that do without it), TRAINED where anything is."""

Parts = TypeVar("Parts")


def key(section: str, counts: str, text: str = "", **limits: Any) -> Any:
    """What a key is besides its name and type, for `Annotated`.

    Args:
        section: of the help page.
        counts: when it is part of the run's hash.
        text: its line on the help page, where its choices and its default stand too; without one it has none.
        limits: ge, gt, lt: at least, above, below.
    """
    extra: dict[str, Any] = {"section": section, "counts": counts}
    return Field(description=text, json_schema_extra=extra, **limits)


def keys(declared: type[Any]) -> dict[str, FieldInfo]:
    """The keys of `RunConfig` or one of its parts, in the order of their declaration."""
    fields: dict[str, FieldInfo] = declared.__pydantic_fields__
    return fields


def about(field: FieldInfo, what: Literal["section", "counts"]) -> Any:
    """What `key` was told of a field."""
    assert isinstance(field.json_schema_extra, dict)
    return field.json_schema_extra[what]


Integer = Annotated[int, Strict()]
Number = Annotated[float, Strict(), Field(allow_inf_nan=False)]
Flag = Annotated[bool, Strict()]
Text = Annotated[str, Field(coerce_numbers_to_str=True)]
_KINDS: dict[Any, str] = {int: "an integer", float: "a number", bool: "true or false", str: "text"}
ONLY_DECLARED = ConfigDict(extra="forbid")


def build(declared: type[Parts], values: Mapping[str, Any], within: str = "") -> Parts:
    """A part from those of the values that are its keys.

    Raises:
        UserError: one line, for the first value that is not valid.
    """
    try:
        return declared(**{name: values[name] for name in keys(declared) if name in values})
    except ValidationError as error:
        raise UserError(_line(declared, error, within)) from error


def _line(declared: type[Any], error: ValidationError, within: str) -> str:
    """What was given, what is valid and what to do, of the first value that is not valid."""
    first = error.errors(include_url=False)[0]
    if first["type"] == "value_error":
        return str(first["ctx"]["error"])
    name, value = str(first["loc"][0]), first["input"]
    if first["type"] == "missing":
        return f"{within}{name} is missing; give {within}{name}=..."
    field = keys(declared)[name]
    if first["type"] == "literal_error":
        choices = choices_of(field)
        return f"{within}{name}={value} is unknown; valid are {', '.join(choices)}{nearest(value, choices)}"
    return f"{within}{name}={value} is not valid; give {_wanted(field)}"


def choices_of(field: FieldInfo) -> tuple[str, ...]:
    """What a key can be, where it is one of a few words."""
    return get_args(field.annotation) if "Literal" in str(field.annotation) else ()


def _wanted(field: FieldInfo) -> str:
    """ "an integer of at least 1, or null"."""
    kinds = [getattr(kind, "__origin__", kind) for kind in get_args(field.annotation) or [field.annotation]]
    words = {"ge": "of at least", "gt": "above", "lt": "below"}
    limits = [
        f"{words[name]} {getattr(limit, name)}"
        for limit in field.metadata
        for name in words
        if hasattr(limit, name)
    ]
    wanted = " ".join([_KINDS[kinds[0]], " and ".join(limits)]).strip()
    return f"{wanted}, or null" if type(None) in kinds else wanted
