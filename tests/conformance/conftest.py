"""One server for all conformance tests of a worker."""

from collections.abc import Iterator

import pytest

from antiphon.models import Store
from serving import API_KEY, Server, start


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, models: Store) -> Iterator[Server]:
    data_dir = tmp_path_factory.mktemp("data")
    process, url = start(data_dir, models)
    yield Server(url, API_KEY, data_dir, process.pid)
    process.terminate()
    assert process.wait(20) == 0
