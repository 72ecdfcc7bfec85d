import pytest

from antiphon.transports.uploads import Uploads


@pytest.fixture
def uploads():
    return Uploads(each_bytes=10_000_000, all_bytes=20_000_000)
