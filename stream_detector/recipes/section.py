"""The base class of the tables of a recipe, and types that several of them use."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

COUNT_MAX = 2**31 - 1
"""Largest count or size: what NumPy, Keras and ONNX Runtime take everywhere."""

PositiveInt = Annotated[int, Field(ge=1, le=COUNT_MAX)]
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Section(BaseModel):
    """One table of a recipe; it is frozen and refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
