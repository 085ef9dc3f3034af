"""Draw the pictures of docs/explanation: windows and strides, late samples, gaps, expiry, restore.

What the first four show is computed by the product: a few samples go through `assign_windows`, one
record each, and the windows, late samples, duplicates, gaps and expired keys that it returns are
drawn. The last one is a drawing of the terms that docs/explanation/state-recovery.md explains.

python docs/pictures/draw_explanations.py
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from stream_detector.core.windowing.rules import WindowRules
from stream_detector.core.windowing.sessions import Arrivals
from stream_detector.core.windowing.window_batch import WindowState
from stream_detector.core.windowing.windows import assign_windows

FOLDER = Path(__file__).parent
BLUE, ORANGE, RED, GREY, LIGHT = "#1f5fa8", "#d9730d", "#c62828", "#616161", "#e8eef6"
INTERVAL_MS = 1_000.0

mpl.rcParams |= {"font.size": 8.5, "svg.hashsalt": "stream-detector", "axes.titlesize": 9}


@dataclass
class Seen:
    """What the product made of some samples."""

    windows: list[tuple[bytes, float, float, int]] = field(default_factory=list)
    late: list[int] = field(default_factory=list)
    repeated: list[int] = field(default_factory=list)
    gaps: list[tuple[int, float]] = field(default_factory=list)
    expired: list[tuple[bytes, int, float]] = field(default_factory=list)


def main() -> None:
    """Draw every picture."""
    for name, draw in {
        "windows": draw_windows,
        "late": draw_late,
        "gap": draw_gap,
        "expiry": draw_expiry,
        "restore-points": draw_restore_points,
    }.items():
        figure = draw()
        figure.savefig(FOLDER / f"{name}.svg", metadata={"Date": None})


def rules(**changes: float) -> WindowRules:
    """Return the rules of the pictures: windows of 4 samples, one a second, a new one every 2."""
    values = {"gap_ms_max": 3_000.0, "allowed_lateness_ms": 0.0, "key_ttl_ms": 60_000.0}
    return WindowRules(
        n_steps=4,
        n_features=1,
        stride=2,
        sample_interval_ms=INTERVAL_MS,
        missing="interpolate",
        missing_share_max=0.25,
        **{**values, **changes},
    )


def window(samples: Sequence[tuple[bytes, float]], given: WindowRules) -> Seen:
    """Pass samples (key, seconds) to the product in this order, each as a record of its own."""
    state, seen = WindowState.empty(given), Seen()
    for number, (key, seconds) in enumerate(samples):
        batch = assign_windows(
            state,
            given,
            Arrivals(
                keys=[key],
                partitions=np.zeros(1, np.int64),
                counts=np.ones(1, np.intp),
                times_ms=np.array([seconds * 1_000]),
                values=np.ones((1, 1), np.float32),
            ),
        )
        state = batch.state
        names = state.keys_of(np.concatenate([batch.slots, batch.expired.slots]))
        for at in range(len(batch)):
            start, end = batch.start_ms[at] / 1_000, batch.end_ms[at] / 1_000
            seen.windows.append((names[at], start, end, number))
        seen.late += [number] * int(batch.n_late.sum())
        seen.repeated += [number] * int(batch.n_repeated.sum())
        seen.gaps += [(number, float(at) / 1_000) for at in batch.gap_ms]
        ends = zip(names[len(batch) :], batch.expired.at_ms, strict=True)
        seen.expired += [(name, number, float(at) / 1_000) for name, at in ends]
    return seen


def draw_windows() -> Figure:
    """Draw windows of 4 samples that start every 2 samples."""
    times = [1.2, 2.1, 3.2, 4.1, 5.2, 6.1, 7.2, 8.2, 9.1, 10.2]
    seen = window([(b"pump-1", each) for each in times], rules())
    figure, axes = canvas(2.9)
    for boundary in np.arange(1.5, 11, 2):
        axes.axvline(boundary, color=GREY, linestyle=":", linewidth=1, zorder=0)
    axes.plot(times, np.zeros(len(times)), "o", color=BLUE, markersize=7)
    draw_window_bars(axes, seen, n_rows=len(seen.windows))
    axes.annotate("", (5.5, 0.6), (7.5, 0.6), arrowprops={"arrowstyle": "<->", "color": GREY})
    axes.text(6.5, 0.75, "stride", color=GREY, ha="center")
    axes.text(0.15, -0.1, "samples")
    axes.text(0.15, -1.0, "windows")
    return finish(figure, axes, (0, 11), (-0.9 - 0.55 * len(seen.windows), 1.2), "event time (s)")


def draw_gap() -> Figure:
    """Draw a series that starts again after a gap."""
    times = [1.0, 2.0, 3.0, 4.0, 5.0, 9.0, 10.0, 11.0, 12.0, 13.0, 14.0]
    seen = window([(b"pump-1", each) for each in times], rules())
    figure, axes = canvas(2.6)
    (_, begins_again), last = seen.gaps[0], 5.0
    axes.axvspan(last, begins_again, color="#fbe9e7", zorder=0)
    axes.text((last + begins_again) / 2, 0.55, "longer than\ngap_ms_max", color=RED, ha="center")
    axes.plot(times, np.zeros(len(times)), "o", color=BLUE, markersize=7)
    draw_window_bars(axes, seen, n_rows=2)
    axes.plot([4.0, last], [-2.0] * 2, color=GREY, linewidth=5, solid_capstyle="butt")
    axes.text(last + 0.2, -2.08, "unfinished: dropped", color=GREY)
    axes.text(-1.3, -0.1, "samples")
    axes.text(-1.3, -1.0, "windows")
    axes.annotate(
        "warm-up: no score\nbefore a window is full",
        (10.5, 0.15),
        (10.5, 0.75),
        color=ORANGE,
        ha="center",
    )
    return finish(figure, axes, (-1.5, 15), (-2.3, 1.6), "event time (s)")


def draw_late() -> Figure:
    """Draw samples that arrive out of order, against the allowed lateness."""
    times = [1.0, 2.0, 4.0, 3.0, 5.0, 5.0, 7.0, 6.0, 8.0, 5.5, 9.0]
    lateness_s = 2.0
    seen = window(
        [(b"pump-1", each) for each in times], rules(allowed_lateness_ms=lateness_s * 1_000)
    )
    figure, axes = canvas(3.3)
    numbers, newest = np.arange(len(times)), np.maximum.accumulate(times)
    axes.step(numbers, newest, where="post", color=GREY, linewidth=1)
    axes.fill_between(numbers, newest - lateness_s, newest, step="post", color=LIGHT)
    is_behind = np.array(times) < newest
    kinds = {
        "in order": (~is_behind & ~np.isin(numbers, seen.repeated), "o", BLUE),
        "behind, and put in its place": (
            is_behind & ~np.isin(numbers, [*seen.late, *seen.repeated]),
            "s",
            ORANGE,
        ),
        "duplicate: dropped": (np.isin(numbers, seen.repeated), "D", GREY),
        "late: dead letter": (np.isin(numbers, seen.late), "X", RED),
    }
    for label, (rows, marker, colour) in kinds.items():
        axes.plot(
            numbers[rows],
            np.array(times)[rows],
            marker,
            color=colour,
            label=label,
            markersize=8,
            linestyle="none",
        )
    axes.text(0.1, 3.4, "newest event\ntime of the key", color=GREY)
    axes.text(9.1, 7.25, "allowed_lateness_ms", color=BLUE, fontsize=8)
    axes.legend(loc="lower right", frameon=False)
    axes.set_ylabel("event time (s)")
    axes.set_xticks(numbers)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlim(-0.4, 11.4)
    axes.set_xlabel("arrival: the offset of the record")
    return figure


def draw_expiry() -> Figure:
    """Draw a key that falls silent while another one of its partition goes on."""
    ttl_s = 6.0
    other, silent = np.arange(1.0, 14.0), [1.4, 2.4, 3.4]
    samples = sorted([(each, b"pump-1") for each in other] + [(each, b"pump-2") for each in silent])
    seen = window([(key, each) for each, key in samples], rules(key_ttl_ms=ttl_s * 1_000))
    (_, record, _), last = seen.expired[0], silent[-1]
    shows = samples[record][0]
    figure, axes = canvas(2.2)
    axes.plot(other, np.ones(len(other)), "o", color=BLUE, markersize=7)
    axes.plot(silent, np.zeros(len(silent)), "o", color=ORANGE, markersize=7)
    axes.annotate("", (last + ttl_s, 0), (last, 0), arrowprops={"arrowstyle": "<->", "color": GREY})
    axes.text(last + ttl_s / 2, 0.14, "key_ttl_ms", color=GREY, ha="center")
    axes.axvline(last + ttl_s, color=GREY, linestyle=":", linewidth=1)
    axes.plot([shows], [1], "o", markerfacecolor="none", markeredgecolor=RED, markersize=13)
    axes.annotate(
        "this record takes stream time\npast it: pump-2 expires and\nits open alert closes",
        (shows, 0.86),
        (shows + 0.35, -0.32),
        color=RED,
        arrowprops={"arrowstyle": "->", "color": RED},
    )
    axes.text(0.7, 1, "pump-1", ha="right", va="center")
    axes.text(0.7, 0, "pump-2", ha="right", va="center")
    return finish(figure, axes, (-0.6, 14.5), (-0.55, 1.45), "event time (s)")


def draw_restore_points() -> Figure:
    """Draw what is replayed after a restart, without and with an active key."""
    figure, axes = canvas(3.3)
    points, committed = [0, 3, 6, 9], 11
    rows = (
        (1.55, 1, 2, False, "no active key"),
        (0, 0, 1, True, "a key with an open alert"),
    )
    for y, first, second, has_alert, title in rows:
        restore, score = points[first], points[second]
        axes.text(-0.1, y + 0.62, title, weight="bold")
        bar(axes, (-0.1, restore), y, "#eeeeee", "not read")
        bar(axes, (restore, score), y, "#bcd0e8", "replay: order and cells")
        label = "replay: and scored, for the alert" if has_alert else "replay: not scored"
        bar(axes, (score, committed), y, "#7fa6d3" if has_alert else "#bcd0e8", label)
        bar(axes, (committed, 13.5), y, "#cfe8cf", "live")
        for point in points:
            axes.plot([point, point], [y - 0.12, y + 0.42], color=GREY, linewidth=1, linestyle=":")
        for at, name in ((restore, "R"), (score, "S"), (committed, "C")):
            axes.plot([at, at], [y - 0.12, y + 0.42], color=RED, linewidth=1.6)
            axes.text(at, y - 0.33, name, color=RED, ha="center", weight="bold")
        if has_alert:
            axes.annotate(
                "alert opened",
                (7.4, y + 0.31),
                (7.4, y + 0.62),
                ha="center",
                color=ORANGE,
                arrowprops={"arrowstyle": "->", "color": ORANGE},
            )
    axes.text(
        -0.1,
        -0.85,
        "dotted: restore points    R: restore offset    S: score from    C: committed offset",
        color=GREY,
    )
    return finish(figure, axes, (-0.4, 13.7), (-1.0, 2.5), "offset in one partition")


def bar(axes: Axes, span: tuple[float, float], y: float, colour: str, label: str) -> None:
    """Draw a stretch of offsets and what is done with it."""
    axes.barh(y + 0.15, span[1] - span[0], 0.3, left=span[0], color=colour, edgecolor="white")
    if span[1] - span[0] > 1:
        axes.text(sum(span) / 2, y + 0.15, label, ha="center", va="center", fontsize=7.5)


def draw_window_bars(axes: Axes, seen: Seen, n_rows: int) -> None:
    """Draw each window as a bar, in some rows under the samples."""
    for number, (_, start, end, _) in enumerate(seen.windows):
        height = -0.9 - 0.55 * (number % n_rows)
        axes.plot([start, end], [height] * 2, color=BLUE, linewidth=5, solid_capstyle="butt")
        axes.text((start + end) / 2, height + 0.14, f"{number + 1}", color=BLUE, ha="center")


def canvas(height: float) -> tuple[Figure, Axes]:
    """Return an empty figure of the pages' width."""
    figure = Figure(figsize=(7.2, height), layout="constrained")
    return figure, figure.subplots()


def finish(
    figure: Figure,
    axes: Axes,
    across: tuple[float, float],
    upright: tuple[float, float],
    label: str,
) -> Figure:
    """Leave only the time axis."""
    axes.set_xlim(*across)
    axes.set_ylim(*upright)
    axes.set_yticks([])
    axes.spines[["left", "top", "right"]].set_visible(False)
    axes.set_xlabel(label)
    return figure


if __name__ == "__main__":
    main()
