"""Spark in local mode, in this process: one Java process, with the source and sink of Kafka.

Spark itself is of the archive `pyspark`, which `make test` installs by tests/spark.lock; the jars
for Kafka come from Maven once and stay in the user's cache folder. Needs Java 17 and Maven.
"""

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from local_kafka import QUICK_START
from maven_jars import MavenError, fetch_jars

# What Spark's workers run: any `python3` on the path, if nothing is said. Programs inherit it.
os.environ["PYSPARK_PYTHON"] = sys.executable

VERSION = "4.2.0"

JAVA_OPTIONS = (*QUICK_START, "-XX:+UseSerialGC", "-Xss4m")

N_STATE_PARTITIONS = 2
"""Parts into which state is divided, unless a test says otherwise."""


class LocalSparkError(Exception):
    """Spark can not be had here; the message says why."""


def options_of(folder: Path) -> dict[str, str]:
    """Return the options of a session whose files are in this folder.

    Raises
    ------
    LocalSparkError
        If Java, Maven or the archive `pyspark` is missing.
    """
    missing = [tool for tool in ("java", "mvn") if shutil.which(tool) is None]
    if missing:
        raise LocalSparkError(f"Spark needs {' and '.join(missing)} on PATH")
    try:
        import pyspark
    except ImportError as error:
        message = "Spark is not installed: make test does, or pip install -r tests/spark.lock"
        raise LocalSparkError(message) from error
    del pyspark
    return {
        "spark.master": "local[1]",  # each worker imports for two seconds
        "spark.jars": ",".join(str(each) for each in sorted(_fetch_jars().glob("*.jar"))),
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.memory": "1g",
        "spark.driver.extraJavaOptions": " ".join(
            (*JAVA_OPTIONS, f"-Dderby.system.home={folder}", f"-Djava.io.tmpdir={folder}")
        ),
        "spark.local.dir": str(folder),
        "spark.sql.warehouse.dir": str(folder / "warehouse"),
        "spark.sql.shuffle.partitions": str(N_STATE_PARTITIONS),
        # What is compiled here would not run long enough to be worth it.
        "spark.sql.codegen.wholeStage": "false",
        "spark.sql.codegen.factoryMode": "NO_CODEGEN",
        "spark.log.level": "ERROR",
    }


@contextmanager
def open_session(folder: Path, **options: str) -> Iterator[Any]:
    """Start Spark and stop it in the end.

    Parameters
    ----------
    folder
        For its files.
    options
        More options, by Spark's names.
    """
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.appName("tests")
    for name, value in {**options_of(folder), **options}.items():
        builder = builder.config(name, value)
    session = builder.getOrCreate()
    try:
        yield session
    finally:
        session.stop()


def _fetch_jars() -> Path:
    """Return the folder with Spark's jars for Kafka, filling it by Maven the first time."""
    try:
        return fetch_jars("spark-kafka", VERSION, "spark_pom.xml", f"-Dspark.version={VERSION}")
    except MavenError as error:
        message = f"Maven did not fetch Spark's jars for Kafka: {error}"
        raise LocalSparkError(message) from None
