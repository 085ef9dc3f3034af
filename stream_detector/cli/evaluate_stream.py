"""What `evaluate` does for a bundle whose records are samples."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from stream_detector.cli.judged_samples import JudgedSamples
from stream_detector.cli.terminal import print_json, print_table, progress_bar, say
from stream_detector.cli.unknown_keys import warn_of_unknown_keys
from stream_detector.errors import ConfigError, DatasetError

if TYPE_CHECKING:
    from stream_detector.assembly import Served
    from stream_detector.bundle import Bundle
    from stream_detector.core.sample_detector import SampleDetector
    from stream_detector.datasets import Dataset
    from stream_detector.evaluation.figures import StreamFigures
    from stream_detector.evaluation.offline import PointScores, StreamRun


@dataclass(frozen=True, slots=True)
class StreamOptions:
    """What is asked for beside the plain figures.

    Parameters
    ----------
    floors
        Whether simple detectors are judged, too.
    point_adjusted
        Whether the point-adjusted F1 is given.
    report
        HTML file to write; None writes none.
    """

    floors: bool = False
    point_adjusted: bool = False
    report: Path | None = None


def evaluate_stream(
    served: "Served", data: JudgedSamples, options: StreamOptions, *, as_json: bool
) -> None:
    """Run the detector of a bundle over samples, and print what it finds.

    Raises
    ------
    DatasetError
        If no window of the samples can be scored.
    """
    from stream_detector.evaluation.tables import POINT_ADJUSTED_WARNING, tables

    figures = _measure(served, data, options)
    notes = [*data.notes, *([POINT_ADJUSTED_WARNING] if options.point_adjusted else [])]
    say(*(f"note: {note}" for note in notes))
    if as_json:
        print_json({**_what(data), "notes": notes, **figures.as_dict()})
        return
    first, *others = tables(figures)
    title = f"{served.bundle.manifest.name} on {data.name}: {first.title}"
    for table in (first._replace(title=title), *others):
        print_table(*table)


def _measure(served: "Served", data: JudgedSamples, options: StreamOptions) -> "StreamFigures":
    """Return all figures that are asked for, and write the report where one is."""
    from stream_detector.core.stream_evaluation import labelled_events
    from stream_detector.evaluation import figures as measuring
    from stream_detector.evaluation.floors import score_floors
    from stream_detector.evaluation.offline import point_scores, run_offline
    from stream_detector.evaluation.strangest import find_strangest

    detector = cast("SampleDetector", served.detector)
    samples, rules = data.samples, detector.windows
    warn_of_unknown_keys(samples.keys, served.bundle.features)
    with _progress(f"running over {len(samples):,} samples"):
        run = run_offline(detector, samples)
    _require_scores(served, run, data)
    events = labelled_events(samples, data.faults)
    found = measuring.measure(run, samples, events, rules)
    with _progress("measuring"):
        scores = point_scores(run, samples, rules.sample_interval_ms)
        adjusted = options.point_adjusted
        points = measuring.measure_points(scores, samples, run.threshold, is_adjusted=adjusted)
        floors = {}
        if options.floors:
            floors = measuring.floor_figures(
                score_floors(samples, data.train),
                samples,
                found,
                detector.alerting.close_after_ms,
                measuring.grace_ms(rules),
            )
        found = replace(
            found,
            points=points,
            windows=measuring.window_figures(
                run,
                samples,
                served.bundle.manifest.recipe.evaluation.positive_class,
                rules.sample_interval_ms,
            ),
            floors=floors,
            strangest=find_strangest(detector, samples, run),
        )
    if options.report is not None:
        _write_report(options.report, served, data, (run, scores, found))
    return found


def _write_report(
    out: Path,
    served: "Served",
    data: JudgedSamples,
    made: "tuple[StreamRun, PointScores, StreamFigures]",
) -> None:
    """Write a report on samples.

    Raises
    ------
    ConfigError
        If Matplotlib is not installed, or the file cannot be written.
    """
    from stream_detector.evaluation.figures import grace_ms
    from stream_detector.evaluation.sweep import sweep_thresholds

    try:
        from stream_detector.report import StreamFindings, write_stream_report
    except ImportError as error:
        raise needs_train_extra(error) from None
    run, scores, figures = made
    manifest = served.bundle.manifest
    grace = grace_ms(manifest.recipe.rules)
    close_after_ms = manifest.recipe.alerting.rules.close_after_ms
    with _progress(f"drawing {out.name}"):
        levels = sweep_thresholds(run, data.samples, figures.events or (), close_after_ms, grace)
        findings = StreamFindings(
            served.bundle,
            data.name,
            data.samples,
            run,
            scores,
            figures,
            levels,
            manifest.history,
            trained_on(served.bundle),
        )
        write_stream_report(out, findings)


def trained_on(bundle: "Bundle") -> "Dataset | None":
    """Return the windows that a bundle was trained on where a report shows some of them."""
    from stream_detector.training import load_trained_on

    left_out = bundle.manifest.left_out
    return load_trained_on(bundle) if left_out is not None and left_out.n_left_out else None


def needs_train_extra(error: ImportError) -> ConfigError:
    """Return the error for a report that cannot be drawn here."""
    return ConfigError(
        f"--report: {error}; it needs the train extra: pip install 'stream-detector[train]'"
    )


def _require_scores(served: "Served", run: "StreamRun", data: JudgedSamples) -> None:
    """Say how many samples and windows have no score; refuse samples that give none at all."""
    from stream_detector.core.features import to_float32
    from stream_detector.datasets.windowing import cut_samples, require_windows

    n_rejected = sum(run.rejected.values())
    if n_rejected:
        say(f"{n_rejected:,} samples cannot be scored, the first: {run.first_rejection}")
    if run.n_missing:
        say(f"{run.n_missing:,} windows lack too many values to be scored")
    if len(run.scores):
        return
    bundle = served.bundle
    rules, features = bundle.manifest.recipe.rules, bundle.features
    values = to_float32(data.samples.values, features.origin)
    samples = replace(data.samples, values=values)
    require_windows(cut_samples(samples, rules), data.name, samples, rules, features)
    message = (
        f"data {data.name}: expected at least one window that can be scored, received none: "
        f"{run.first_rejection}; correct the data"
    )
    raise DatasetError(message)


def _what(data: JudgedSamples) -> dict[str, Any]:
    """Return what was judged, for JSON."""
    from stream_detector.evaluation.offline import spans_of

    days = sum(end - start for start, end in spans_of(data.samples).values()) / 86_400_000
    return {
        "dataset": data.dataset,
        "part": data.part,
        "n_samples": len(data.samples),
        "n_keys": len(data.samples.keys),
        "key_days": days,
    }


@contextmanager
def _progress(what: str) -> Iterator[None]:
    """Show that something takes a while."""
    with progress_bar() as progress:
        progress.add_task(what, total=None)
        yield
