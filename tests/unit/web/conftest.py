"""What the tests of the page share: a bundle that needs no training."""

import pytest
from console_page import open_pumps

from stream_detector.assembly import Served


@pytest.fixture(scope="session")
def pumps(tmp_path_factory: pytest.TempPathFactory) -> Served:
    """A bundle of samples; see `console_page.open_pumps`."""
    return open_pumps(tmp_path_factory.mktemp("bundle"))
