"""Judge records that stand for themselves: the detector is a pandas function of a table.

Such are whole windows and images, where alerts are not joined to incidents. Flink keeps no state,
and any number of tasks shares the records.
"""

from typing import Any

import pandas as pd
from detection import RECORD_COLUMNS, Judge, OutputRow
from pyflink.table import DataTypes
from pyflink.table.expressions import col
from pyflink.table.udf import FunctionContext, ScalarFunction, udf
from tables import open_tables, read_command_line, run, write

from stream_detector.core.detector import Detector, WindowDetector
from stream_detector.errors import ConfigError

FOUND = DataTypes.ROW(
    [
        DataTypes.FIELD("topic", DataTypes.STRING()),
        DataTypes.FIELD("key", DataTypes.BYTES()),
        DataTypes.FIELD("value", DataTypes.BYTES()),
        DataTypes.FIELD("header_names", DataTypes.ARRAY(DataTypes.STRING())),
        DataTypes.FIELD("header_values", DataTypes.ARRAY(DataTypes.BYTES())),
        DataTypes.FIELD("timestamp_ms", DataTypes.BIGINT()),
    ]
)
"""What a record becomes: an alert or a dead letter, or nothing, whose topic is null."""


class Detect(ScalarFunction):  # type: ignore[misc]
    """Gives of each record what is to be written of it."""

    def __init__(self, judge: Judge) -> None:
        self._judge = judge

    def open(self, context: FunctionContext) -> None:
        """Load the bundle, before there is a record."""
        del context
        self._judge.detector.initial_state()

    def is_deterministic(self) -> bool:
        """Return False: alerts bear the time."""
        return False

    def eval(self, records: pd.DataFrame) -> pd.DataFrame:
        """Return a row of `FOUND` for each record."""
        judge = self._judge
        batch = judge.batch(records.set_axis(RECORD_COLUMNS, axis="columns"))
        step = judge.step(judge.detector.initial_state(), batch)
        found: dict[str, list[Any]] = {name: [None] * len(batch) for name in OutputRow._fields[1:]}
        for row, *fields in judge.outputs(batch, step):
            for column, field in zip(found.values(), fields, strict=True):
                column[row] = field
        return pd.DataFrame(found, dtype=object)


def joins_incidents(detector: Detector) -> bool:
    """Return whether alerts bear what they have in common with those of earlier records."""
    return isinstance(detector, WindowDetector) and detector.incident_within_ms is not None


def main() -> None:
    """Run the job."""
    judge, options = read_command_line(__doc__ or "")
    detector = judge.detector
    if detector.keeps_state or joins_incidents(detector):
        message = (
            f"bundle {judge.bundle}: expected records that stand for themselves, received samples, "
            "or alerts that are joined to incidents: run stateful.py, or for whole windows set "
            "alerting.incident_within_ms to 0"
        )
        raise ConfigError(message)
    tables = open_tables(judge, options)
    detect = udf(Detect(judge), result_type=FOUND, func_type="pandas")
    records = tables.from_path("records").select(*map(col, RECORD_COLUMNS))
    write(records.map(detect))


if __name__ == "__main__":
    run(main)
