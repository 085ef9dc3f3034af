"""Where the pages' data sets come from, and the programs that write the pages."""

import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "docs"))


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """A folder with the data sets, named by STREAM_DETECTOR_DATA or beside the checkout."""
    named = os.environ.get("STREAM_DETECTOR_DATA")
    folder = Path(named) if named else ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        reason = f"no data sets: STREAM_DETECTOR_DATA is not set and {folder} does not exist"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    os.environ["STREAM_DETECTOR_DATA"] = str(folder)
    return folder
