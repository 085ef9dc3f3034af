"""Fill a folder with every file of the public data sets, for STREAM_DETECTOR_DATA to name.

    python tests/support/fill_mirror.py FOLDER

Files come from where the loaders get them: a mirror that STREAM_DETECTOR_DATA names already, else
the cache, else their public addresses. Needs the train extra.
"""

import sys
from pathlib import Path

from stream_detector.datasets import ecg5000, images, load_images, mitdb, nab, smd
from stream_detector.datasets.fetch import RemoteFile, fetch


def fill(folder: Path) -> list[Path]:
    """Load every data set and keep each file under its path in a mirror; return these paths."""
    kept: list[Path] = []

    def fetch_and_keep(file: RemoteFile) -> bytes:
        content = fetch(file)
        path = folder / file.mirror_path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        kept.append(path)
        return content

    for module in (ecg5000, images, mitdb, nab, smd):
        vars(module)["fetch"] = fetch_and_keep
    for split in ecg5000.SPLITS:
        ecg5000.load(split)
    for name in ("mnist", "fashion-mnist"):
        load_images(name)
    for samples in (mitdb, nab, smd):
        for series in samples.SERIES:
            samples.load(series)
    for series in smd.SERIES:
        smd.interpretations(series)
    return sorted(set(kept))


if __name__ == "__main__":
    for path in fill(Path(sys.argv[1])):
        sys.stdout.write(f"{path}\n")
