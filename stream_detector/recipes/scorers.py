"""The tables `[scorer]` and `[[check]]` of a recipe: what turns windows into scores.

A new scorer is a class here with its name in `ScorerSection`, and one in
`stream_detector.core.scoring` that fits `Scorer`.
"""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from stream_detector.core.scoring.members import Combine
from stream_detector.recipes.section import Section

STEPS_MAX = 10_000
PROTOTYPES_MAX = 8_192
"""Most windows that a bundle keeps to compare others with: of 256 coordinates, eight megabytes."""

AXES_MAX = 256
GROUPS_MAX = 8
"""Most groups of nearest neighbours."""

SHORT_STEPS = 16
"""Steps of a short look where a recipe does not say."""


class ReconstructionScorerSection(Section):
    """The score is the reconstruction error."""

    kind: Literal["reconstruction"] = Field(
        default="reconstruction", description="How windows are scored"
    )


class ChecksScorerSection(Section):
    """The score is that of the most anomalous of several calibrated checks."""

    kind: Literal["checks"] = Field(description="How windows are scored")
    short_steps: Annotated[int, Field(ge=2, le=STEPS_MAX)] | None = Field(
        default=None,
        description="Steps of a short look, the newest ones of a window; if not given, 16 of a "
        "window that is cut from samples, and all of one that is a whole record",
    )
    peak_steps: Annotated[int, Field(ge=2, le=STEPS_MAX)] = Field(
        default=8,
        description="The newest steps of a window, among which the check peak looks for one; more "
        "where windows start so far apart that a step would be in none of them",
    )
    trim: bool = Field(
        default=True,
        description="Whether training leaves out windows that look like faults, where the data has "
        "no labels and at least 8 keys: those that are 1.5 times as far from normal as the "
        "farthest windows of most keys",
    )


ScorerSection = Annotated[
    ReconstructionScorerSection | ChecksScorerSection, Field(discriminator="kind")
]
"""The registry of scorers."""


def _as_list(value: object) -> object:
    """Return a list of one number, where one is for all."""
    return (value,) if isinstance(value, int) else value


AxesOfGroups = Annotated[
    tuple[Annotated[int, Field(ge=1, le=AXES_MAX)], ...],
    Field(min_length=1, max_length=GROUPS_MAX, strict=False),
    BeforeValidator(_as_list),
]


class ShapeSection(Section):
    """The course of the whole window: reconstruction error, and distance to nearest neighbours."""

    kind: Literal["shape"] = Field(description="What the check looks at")
    neighbour_steps: (
        Annotated[
            tuple[Annotated[int, Field(ge=1, le=STEPS_MAX)], ...],
            Field(max_length=GROUPS_MAX, strict=False),
        ]
        | None
    ) = Field(
        default=None,
        description="For each group of nearest neighbours of all features, how many of the newest "
        "steps of a window are compared; scorer.short_steps if not given, no neighbours if empty",
    )
    prototypes: Annotated[int, Field(ge=1, le=PROTOTYPES_MAX)] = Field(
        default=512, description="Most normal windows among which the nearest neighbours are sought"
    )
    axes: AxesOfGroups = Field(
        default=(24,),
        description="Most principal components in whose coordinates they are compared: one number "
        "for all groups, or one for each of them",
    )
    whitening: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.0,
        description="Power of a component's standard deviation by which its coordinate is divided: "
        "with 0 not at all, with 1 all coordinates vary alike",
    )
    error: bool = Field(
        default=True,
        description="Whether the reconstruction error is part of it; false where neighbours alone "
        "rank windows better, and the network is to explain only",
    )
    combine: Combine = Field(
        default="together",
        description="How features are joined: looked at as one (together); or each alone, and then "
        "their mean (mean), or 0.7 of the least and 0.3 of the most anomalous one (min-max), so "
        "that a loose contact of one sensor is no anomaly. Then a feature ten times as large or as "
        "small as usual is not believed",
    )
    feature_neighbours: bool | None = Field(
        default=None,
        description="Whether each feature has nearest neighbours of its own, of the whole window "
        "and of scorer.short_steps; if not given, where these explain nine tenths of how the "
        "features vary",
    )


class FeatureCheckSection(Section):
    """A few numbers of each feature, far from those of normal windows."""

    kind: Literal["peak", "flat", "noise", "level", "relation", "shift"] = Field(
        description="What the check looks at"
    )


class RhythmSection(Section):
    """When the peaks come that windows are cut round: too early, too late, irregularly or not."""

    kind: Literal["rhythm"] = Field(description="What the check looks at")


CheckSection = Annotated[
    ShapeSection | FeatureCheckSection | RhythmSection, Field(discriminator="kind")
]
"""The registry of checks."""
