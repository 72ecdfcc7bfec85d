"""Real models and real speech for the tests that need them, pulled on first use and kept between runs."""

from pathlib import Path

import pytest

from antiphon.models import CATALOG, Store

_TESTS = Path(__file__).parent


@pytest.fixture(scope="session")
def models() -> Store:
    """A store with every model of the catalog, whatever ANTIPHON_DATA_DIR says."""
    store = Store(_TESTS.parent / ".cache" / "test-models")
    store.pull(list(CATALOG))
    return store


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
def two_cities_text() -> str:
    """What is said in `two_cities`: the opening of A Tale of Two Cities, in lower case without punctuation."""
    return (_TESTS / "data" / "two_cities.txt").read_text().strip()
