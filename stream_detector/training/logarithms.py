"""Name the features that vary by factors, where a recipe leaves that to the training samples."""

from stream_detector.core.scoring.logarithmic import vary_by_factors
from stream_detector.datasets import SampleDataset
from stream_detector.recipes import Recipe
from stream_detector.training.key_scales import normal_by_key


def with_logarithms(recipe: Recipe, dataset: SampleDataset) -> Recipe:
    """Return a recipe whose `scaling.logarithmic` names features in place of "auto".

    Parameters
    ----------
    recipe
        Its `scaling.logarithmic` is "auto".
    dataset
        Its samples. Those of the training part that are labelled anomalous do not count, unless the
        recipe finds what is normal itself.
    """
    samples, scaling = dataset.train, recipe.scaling
    labels = None if recipe.training.trim else samples.labels
    rows = normal_by_key(samples.series, labels, len(samples.keys))
    names = dataset.feature_names
    is_logarithmic = vary_by_factors(names, [samples.values[some] for some in rows])
    others = {*scaling.relative, *scaling.counters}
    found = tuple(
        name
        for name, is_one in zip(names, is_logarithmic, strict=True)
        if is_one and name not in others
    )
    changed = scaling.model_copy(update={"logarithmic": found})
    return recipe.model_copy(update={"scaling": changed})
