"""The tables `[scorer]` and `[[check]]` of a recipe: what turns windows into scores.

A new scorer is a class here with its name in `ScorerSection`, and one in
`stream_detector.core.scoring` that fits `Scorer`.
"""

from typing import Annotated, Literal

from pydantic import Field

from stream_detector.recipes.section import Section

STEPS_MAX = 10_000
PROTOTYPES_MAX = 8_192
"""Most windows that a bundle keeps to compare others with: of 256 coordinates, eight megabytes."""

AXES_MAX = 256


class ReconstructionScorerSection(Section):
    """The score is the reconstruction error."""

    kind: Literal["reconstruction"] = Field(
        default="reconstruction", description="How windows are scored"
    )


class ChecksScorerSection(Section):
    """The score is that of the most anomalous of several calibrated checks."""

    kind: Literal["checks"] = Field(description="How windows are scored")
    short_steps: Annotated[int, Field(ge=2, le=STEPS_MAX)] = Field(
        default=16,
        description="Steps of a short look: the newest ones of a window; all if it has fewer",
    )


ScorerSection = Annotated[
    ReconstructionScorerSection | ChecksScorerSection, Field(discriminator="kind")
]
"""The registry of scorers."""


class ShapeSection(Section):
    """The course of the whole window: reconstruction error, and distance to nearest neighbours."""

    kind: Literal["shape"] = Field(description="What the check looks at")
    neighbour_steps: (
        Annotated[
            tuple[Annotated[int, Field(ge=1, le=STEPS_MAX)], ...], Field(max_length=8, strict=False)
        ]
        | None
    ) = Field(
        default=None,
        description="For each group of nearest neighbours, how many of the newest steps of a "
        "window are compared; the whole window and scorer.short_steps if not given, no neighbours "
        "if empty",
    )
    prototypes: Annotated[int, Field(ge=1, le=PROTOTYPES_MAX)] = Field(
        default=512, description="Most normal windows among which the nearest neighbours are sought"
    )
    axes: Annotated[int, Field(ge=1, le=AXES_MAX)] = Field(
        default=24, description="Most principal components in whose coordinates they are compared"
    )


class FeatureCheckSection(Section):
    """A few numbers of each feature, far from those of normal windows."""

    kind: Literal["peak", "flat", "noise", "level"] = Field(description="What the check looks at")


CheckSection = Annotated[ShapeSection | FeatureCheckSection, Field(discriminator="kind")]
"""The registry of checks."""
