"""Numenta Anomaly Benchmark: 35 of its 58 series, of one feature each.

These are the folders realKnownCause, artificialNoAnomaly and artificialWithAnomaly, and most of
realAWSCloudwatch. The interval between samples differs from series to series.

The times of the files have no time zone and are read as UTC. They are irregular: hours are missing,
and times repeat where a clock was set back. Samples are sorted by time; of several samples with the
same time, the first in the file is kept.

Notes
-----
Source as read: the repository numenta/NAB, `labels/combined_windows.json` for the labels and
`nab/util.py` for the probationary period, in which a detector may learn and is not scored: 15 % of
a file, and for files of more than 5,000 rows 15 % of 5,000. Here it is 15 % of every file, so that
long files give enough windows to train a network.
"""

import csv
import io
import json
from datetime import UTC, datetime
from difflib import get_close_matches

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.records import Samples
from stream_detector.datasets.base import SampleDataset
from stream_detector.datasets.fetch import RemoteFile, fetch
from stream_detector.errors import DatasetError

_TRAIN_SHARE = 0.15
_URL = "https://raw.githubusercontent.com/numenta/NAB/master/"
_WINDOWS = RemoteFile(
    mirror_path="nab/labels/combined_windows.json",
    url=f"{_URL}labels/combined_windows.json",
    sha256="1e1fbc4601321aad8d0f8b3784c8134299379f68f6c1f7777565f8ffd57ab6b1",
)
_SHA256 = {
    "artificialNoAnomaly/art_daily_no_noise": (
        "ccb7743ac2de8ca110db4af796d11ba31a23ad448a28e353a935c15f637756bc"
    ),
    "artificialNoAnomaly/art_daily_perfect_square_wave": (
        "662ff0a295b81eb0ff8e81116a54a497cd6f6b07c19c7a5ea72cce494913ce62"
    ),
    "artificialNoAnomaly/art_daily_small_noise": (
        "c4b304229f69f108eaa024fb2406fcd4510c5c5d95cd0053e2da6989682e4e6d"
    ),
    "artificialNoAnomaly/art_flatline": (
        "1cc10761ddd6d55fb5f0d9cfc73610416abbb120ee14bb65eff288509a463397"
    ),
    "artificialNoAnomaly/art_noisy": (
        "ad455adeaf06852222500955f2aefe6bd389cc762ef68e7102ee543209c8607f"
    ),
    "artificialWithAnomaly/art_daily_flatmiddle": (
        "ea5df125947e9ee2b977ac3d341f3c2a029588862af97cae4a654fc56e838702"
    ),
    "artificialWithAnomaly/art_daily_jumpsdown": (
        "4af31802e87dff4b4ba3ceb21714ba9d905f7888e1f53d47cc6dd4f856f9debc"
    ),
    "artificialWithAnomaly/art_daily_jumpsup": (
        "f79f92b93ee4f9c10e2dc552505e8880b0c618639ed5e0f9816e044b75c26456"
    ),
    "artificialWithAnomaly/art_daily_nojump": (
        "65c85d1834376ed5e622f01721d478609577ea0df0a067c5a5ebe5edea03b077"
    ),
    "artificialWithAnomaly/art_increase_spike_density": (
        "0959d8871d5c1a3fc3120fb7421e4ef113fffb434af2889085b52aebdb69360c"
    ),
    "artificialWithAnomaly/art_load_balancer_spikes": (
        "99f7130e54c7c3e818df8e3bdc0974cd241914bb14a10a9c3fa7c1374125d224"
    ),
    "realAWSCloudwatch/ec2_cpu_utilization_24ae8d": (
        "ab446fbd8b9f37507eb2fdb06315826d8daeef02e241133ce06e0ee571ba53d9"
    ),
    "realAWSCloudwatch/ec2_cpu_utilization_53ea38": (
        "8942e498de7b40f1b4a6d802755592c09b8fb73ce8f658763a09cb9ea1ea94ac"
    ),
    "realAWSCloudwatch/ec2_cpu_utilization_5f5533": (
        "01613e6f632d067f11a5dfd40a188b0789752b388d9bc77a398bd06333878a76"
    ),
    "realAWSCloudwatch/ec2_cpu_utilization_77c1ca": (
        "90ceabd570b449241ee24ff8a116a793979b7671ce4490707311bfea0e0aae1f"
    ),
    "realAWSCloudwatch/ec2_cpu_utilization_825cc2": (
        "d768419037c9db269343822957314f57ee21a7d9a4d41df2add0d1ba45ba84de"
    ),
    "realAWSCloudwatch/ec2_cpu_utilization_ac20cd": (
        "749a15c2e1a4543c21fee9cbf3338cd8a7ed5f5f8a1308b9b099b06c2c66e66b"
    ),
    "realAWSCloudwatch/ec2_cpu_utilization_c6585a": (
        "d936cea74682ed43ac96b778352d7de294c0b0c168f4a7e6817162346cdb28c1"
    ),
    "realAWSCloudwatch/ec2_cpu_utilization_fe7f93": (
        "f3433f8171f4dcea86c0c7af9996d0f166f812fa0f4567f1d5cd85d2d2cd69b4"
    ),
    "realAWSCloudwatch/ec2_disk_write_bytes_1ef3de": (
        "ce3d6c6a652ed7c31a6dd3727a36e128fcac6fb2381c63267ad0fbc02eccd9df"
    ),
    "realAWSCloudwatch/ec2_disk_write_bytes_c0d644": (
        "a0e734a66098bb81833835f0839dadafbc8ae829c51494670ee8849e46eb5b63"
    ),
    "realAWSCloudwatch/ec2_network_in_257a54": (
        "39104b08f2e0a673b5137eb7681897fcadf0955fedf565740a6a94edc63a81a4"
    ),
    "realAWSCloudwatch/ec2_network_in_5abac7": (
        "c27ef93f582af63bf42e80d804764cbe64ae987620f3cfab5477d6ebb3c6157e"
    ),
    "realAWSCloudwatch/elb_request_count_8c0756": (
        "74c26574a01ca9fb89dddb5021e2e13c3a93eb25dc640438a9acb1ceb00f1021"
    ),
    "realAWSCloudwatch/grok_asg_anomaly": (
        "86a0abe9d58e376858d2fd4f4a438f1997e24c64a09e5af03accd4e1b372ac47"
    ),
    "realAWSCloudwatch/iio_us-east-1_i-a2eb1cd9_NetworkIn": (
        "f115fbe6542159eed5612445bfa620708a28ab6b41349d1432bb15c3a3b8414d"
    ),
    "realAWSCloudwatch/rds_cpu_utilization_cc0c53": (
        "d5df979ef85928769a016cd0f935919d8c2a113926e21e1eb3a5001d688760e2"
    ),
    "realAWSCloudwatch/rds_cpu_utilization_e47b3b": (
        "6b712b922ab3b3404c5a629d64a570c390c99471ee8b9b0ff7665f553fda92c1"
    ),
    "realKnownCause/ambient_temperature_system_failure": (
        "230b68ccca20f59d562afd5d24ad52939c9b784386bed0054018358bf9120581"
    ),
    "realKnownCause/cpu_utilization_asg_misconfiguration": (
        "58ba65dc0737cfbac11b51514476d50c438d44011232144bb8d93f392df58f9f"
    ),
    "realKnownCause/ec2_request_latency_system_failure": (
        "98378580aa80157e057c61d59d81daddccc6c65a2c0c800e3f01f603b8215c3f"
    ),
    "realKnownCause/machine_temperature_system_failure": (
        "92bf5b87fc7f9bba8ca0b7ec63ccaac8cb4a1371a258e8c29a10ae9c018d82a4"
    ),
    "realKnownCause/nyc_taxi": ("d8fa6f7f0734bf5c8be12c52a94e20a82664c397d9dec4449156bd453d32856d"),
    "realKnownCause/rogue_agent_key_hold": (
        "47b110baa8e3636574c1033dda1cce780873647fab58223d159d4fee6f180e86"
    ),
    "realKnownCause/rogue_agent_key_updown": (
        "9797cfef477c13306f7a33874ab4d6cf700f8f2c7e5825a2a5bc02004370909a"
    ),
}
SERIES = tuple(_SHA256)


def load(series: str) -> SampleDataset:
    """Load one series.

    Parameters
    ----------
    series
        Folder and name without ".csv", one of `SERIES`.

    Returns
    -------
    The first 15 % of the samples are the training part. The label is 1 inside the benchmark's
    windows around its anomalies, both ends included. All windows of a series together cover a
    tenth of it; some lie in the training part. Six series have none.

    Raises
    ------
    DatasetError
        If the series is unknown, or a file is missing.
    """
    times_ms, values = _read(series)
    labels = np.zeros(len(times_ms), dtype=np.int8)
    for start, end in json.loads(fetch(_WINDOWS))[f"{series}.csv"]:
        labels[(times_ms >= _time_ms(start)) & (times_ms <= _time_ms(end))] = 1

    def part(rows: slice) -> Samples:
        return Samples(
            keys=(series,),
            series=np.zeros(len(labels[rows]), dtype=np.intp),
            times_ms=times_ms[rows],
            values=values[rows],
            labels=labels[rows],
        )

    n_train = int(_TRAIN_SHARE * len(times_ms))
    return SampleDataset(
        name="nab",
        split=series,
        train=part(slice(n_train)),
        test=part(slice(n_train, len(times_ms))),
        feature_names=("value",),
    )


def _read(series: str) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Return strictly increasing times, shape (n_samples,), and values."""
    if series not in SERIES:
        near = get_close_matches(series, SERIES, n=3, cutoff=0.0)
        message = (
            f"data set nab: expected one of {len(SERIES)} known series, the nearest are "
            f"{', '.join(near)}, received {series!r}"
        )
        raise DatasetError(message)
    name = f"data/{series}.csv"
    content = fetch(RemoteFile(f"nab/{name}", f"{_URL}{name}", _SHA256[series]))
    rows = list(csv.DictReader(io.StringIO(content.decode())))
    times_ms = np.array([_time_ms(row["timestamp"]) for row in rows])
    values = np.array([float(row["value"]) for row in rows]).astype(np.float32)
    # NumPy returns the sorted times and the index of the first sample with each time.
    times_ms, first = np.unique(times_ms, return_index=True)
    return times_ms, values[first, np.newaxis]  # (n_samples, 1)


def _time_ms(text: str) -> float:
    """Return a time without a zone as milliseconds since 1970-01-01 UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000.0
