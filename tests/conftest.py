"""Real models, real speech and a real server for the tests that need them; models are pulled on first use and kept
between runs. And the profile of all property tests.
"""

import os
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadGroupScheduling

from antiphon.models import CATALOG, Store
from serving import Server, served

_TESTS = Path(__file__).parent

# No property test fails because the machine is busy; the same examples each time, and new ones for `make fuzz`.
_EXAMPLES = int(os.environ.get("ANTIPHON_EXAMPLES", "0"))
settings.register_profile("antiphon", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
settings.register_profile("fuzz", settings.get_profile("antiphon"), derandomize=False, max_examples=_EXAMPLES or 100)
settings.load_profile("fuzz" if _EXAMPLES else "antiphon")


class Scheduling(LoadGroupScheduling):
    """What is in no group runs file by file: what a file's tests share is made once. And to look for the next of 25,000
    single tests took the seconds of many.
    """

    def _split_scope(self, nodeid: str) -> str:
        scope: str = super()._split_scope(nodeid)
        return nodeid.partition("::")[0] if scope == nodeid else scope


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadGroupScheduling | None:
    return Scheduling(config, log) if config.getvalue("dist") == "loadgroup" else None


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist looks for groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begins with what one worker runs alone, test after test, and ends with the shortest: else one worker would have
    nothing to do at the end. All tests of the one real server run on one worker, or there would be two servers.
    """
    for item in items:
        folder = item.path.relative_to(_TESTS).parts[0]
        shared = folder in ("conformance", "frameworks") and "server" in getattr(item, "fixturenames", ())
        if shared and item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group("server"))
    items.sort(key=lambda item: (item.get_closest_marker("xdist_group") is None, "unit" in item.path.parts))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Fails where tests of one group would run at once: pytest-xdist tells the group by the end of a test's id."""
    grouped = getattr(session.config.option, "loadgroup", False)
    for item in session.items if grouped else ():
        if item.get_closest_marker("xdist_group") is not None and "@" not in item.nodeid:
            raise pytest.UsageError(f"the group of {item.nodeid} is not honoured")


@pytest.fixture(scope="session")
def models() -> Store:
    """A store with every model of the catalog, whatever ANTIPHON_DATA_DIR says."""
    store = Store(_TESTS.parent / ".cache" / "test-models")
    store.pull(list(CATALOG))
    return store


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, models: Store) -> Iterator[Server]:
    """One server for all tests of a worker that leave it as they found it."""
    with served(tmp_path_factory.mktemp("data"), models) as server:
        yield server


@pytest.fixture(scope="session")
def moonshine_dir(models: Store) -> Path:
    """The folder of Moonshine tiny-en."""
    return models.path("moonshine-tiny-en")


@pytest.fixture(scope="session")
def silero_path(models: Store) -> Path:
    """The Silero voice activity model."""
    return models.path("silero-vad") / "silero_vad.onnx"


@pytest.fixture(scope="session")
def smollm2(models: Store) -> Path:
    """The folder of SmolLM2-135M-Instruct."""
    models.pull(["smollm2-135m-instruct"])
    return models.path("smollm2-135m-instruct")


@pytest.fixture(scope="session")
def kept_in(models: Store) -> Path:
    """Where rewritten models are kept between runs."""
    return models.root / "converted"


@pytest.fixture(scope="session")
def two_cities(models: Store) -> Path:
    """44 s of read speech, 48 kHz mono int16."""
    return models.path("speech-samples") / "two_cities.wav"


@pytest.fixture(scope="session")
def beckett(models: Store) -> Path:
    """10 s of read speech, 16 kHz mono int16."""
    return models.path("speech-samples") / "beckett.wav"


@pytest.fixture(scope="session")
def ever_tried(beckett: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first 4.4 s of `beckett`, for those who play it as slowly as it was said."""
    path = tmp_path_factory.mktemp("speech") / "ever_tried.wav"
    with wave.open(str(beckett)) as whole, wave.open(str(path), "wb") as part:
        part.setparams(whole.getparams())
        part.writeframes(whole.readframes(int(4.4 * whole.getframerate())))
    return path


@pytest.fixture(scope="session")
def two_cities_text() -> str:
    """What is said in `two_cities`: the opening of A Tale of Two Cities, in lower case without punctuation."""
    return (_TESTS / "data" / "two_cities.txt").read_text().strip()
