"""Records as other programs write them, from a real Kafka: the scores and alerts of float32."""

from collections.abc import Callable
from contextlib import closing

import pytest
from input_forms import FORMS, PARTITIONS, float32_records, records_of, write_bundle
from input_runs import Found, run

from stream_detector.assembly import connect_reader, connect_writer, open_bundle
from stream_detector.core.detector import Detector
from stream_detector.core.records import OutputRecord
from stream_detector.settings import ConnectionSettings

# The times of the samples are long past: with the usual retention such records are soon dropped.
KEEP = {"retention_ms": "-1"}

pytestmark = [pytest.mark.kafka, pytest.mark.slow]


@pytest.fixture(scope="module")
def detectors(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Detector]:
    folder = tmp_path_factory.mktemp("bundles")
    tables = {form.name: (form.table, form.n_features) for form in FORMS}
    tables |= {"float32 of 1": ({}, 1), "float32 of 2": ({}, 2)}
    return {
        name: open_bundle(write_bundle(folder / name, *facts)).detector
        for name, facts in tables.items()
    }


@pytest.mark.parametrize("client", ["kafka-python", "confluent"])
def test_each_form_has_the_scores_and_alerts_of_float32(
    client: str, kafka: str, topics: Callable[..., str], detectors: dict[str, Detector]
) -> None:
    settings = ConnectionSettings(bootstrap_servers=kafka, client=client)  # type: ignore[arg-type]

    def found_in(make: Callable[[str], list[OutputRecord]], detector: Detector) -> Found:
        topic = topics(PARTITIONS, **KEEP)
        records = make(topic)
        with closing(connect_writer(settings)) as writer:
            writer.produce(records)
            writer.flush(30_000)
        with closing(connect_reader(settings, topic)) as reader:
            return run(reader, detector, len(records))

    expected = {
        n: found_in(lambda topic, n=n: float32_records(n, topic), detectors[f"float32 of {n}"])  # type: ignore[misc]
        for n in (1, 2)
    }
    assert all(each.scores and each.alerts for each in expected.values())
    for form in FORMS:
        found = found_in(lambda topic, form=form: records_of(form, topic), detectors[form.name])  # type: ignore[misc]
        assert found.rejected == [], form.name
        assert found.scores == expected[form.n_features].scores, form.name
        assert found.alerts == expected[form.n_features].alerts, form.name
