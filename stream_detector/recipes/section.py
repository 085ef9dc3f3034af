"""The base class of the tables of a recipe, and types that several of them use."""

from collections.abc import Sequence
from typing import Annotated, NamedTuple, TypeGuard, get_args, get_origin

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError

COUNT_MAX = 2**31 - 1
"""Largest count or size: what NumPy, Keras and ONNX Runtime take everywhere."""

PositiveInt = Annotated[int, Field(ge=1, le=COUNT_MAX)]
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]


def number_as_name(value: object) -> object:
    """Return an integer as text, since a series may be called 106, which TOML reads as a number."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


ColumnName = Annotated[str, Field(max_length=1_024), BeforeValidator(number_as_name)]


class Section(BaseModel):
    """One table of a recipe; it is frozen and refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Tables(NamedTuple):
    """The classes of a table of a recipe.

    Parameters
    ----------
    tag
        Where there are several, the key that chooses between them; else empty.
    classes
        One, or several where the table has kinds; none where it is no table but a key.
    is_list
        Whether there may be several such tables.
    """

    tag: str
    classes: list[type[BaseModel]]
    is_list: bool


def tables_of(field: FieldInfo) -> Tables:
    """Return the classes of a table, from its field in the recipe."""
    annotation, tag = field.annotation, field.discriminator
    is_list = get_origin(annotation) is tuple
    if is_list:
        item = get_args(annotation)[0]
        annotation, *about = get_args(item) or (item,)
        tag = next((each.discriminator for each in about if isinstance(each, FieldInfo)), None)
    parts = (annotation, *get_args(annotation))
    classes = [part for part in parts if isinstance(part, type) and issubclass(part, BaseModel)]
    return Tables(str(tag) if tag is not None else "", classes, is_list)


def is_number(value: object) -> TypeGuard[int | float]:
    """Return whether a value of a recipe is a number."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def one_of(names: Sequence[str]) -> AfterValidator:
    """Return a validator that accepts these names only, at least two."""
    *others, last = map(repr, names)

    def check(name: str) -> str:
        if name not in names:
            kind, context = "unknown_name", {"expected": f"{', '.join(others)} or {last}"}
            raise PydanticCustomError(kind, "Input should be {expected}", context)
        return name

    return AfterValidator(check)
