"""The price books of a server: files that are read and checked together."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from antiphon.core.errors import CallerError
from antiphon.metering.pricing.book import Book, NoBook, Role, Series
from antiphon.metering.pricing.parse import MAX_BYTES, parse_book

EXAMPLES = Path(__file__).parent / "examples"


@dataclass(frozen=True, slots=True, kw_only=True)
class Library:
    """Books by name. `default` is the book of projects without one in `projects`; `costs` is the book of the engines'
    costs.
    """

    series: Mapping[str, Series] = field(default_factory=dict)
    default: str = ""
    projects: Mapping[str, str] = field(default_factory=dict)
    costs: Series | None = None

    def of(self, project: str) -> Series:
        """Return the book by which a project is billed. Raises `NoBook`."""
        name = self.projects.get(project, self.default)
        if not name:
            raise NoBook("no price book is configured: see [pricing] in docs/billing.md")
        return self.series[name]


def load_books(paths: Iterable[Path]) -> dict[str, Series]:
    """Return the books by name, each with all its versions. Raises `InvalidBook` and other `CallerError`s."""
    books: dict[str, list[Book]] = {}
    for path in paths:
        book = load_book(path)
        books.setdefault(book.name, []).append(book)
    return {name: Series(versions) for name, versions in books.items()}


def load_book(path: Path) -> Book:
    try:
        with path.expanduser().open("rb") as file:
            return parse_book(file.read(MAX_BYTES + 1), str(path))
    except OSError as error:
        raise CallerError(f"the price book {path} cannot be read: {error.strerror}") from None


def make_library(paths: Iterable[Path], default: str, projects: Mapping[str, str], costs: str) -> Library:
    """Return the library. Raises `CallerError` if there is no book of a name."""
    series = load_books(paths)
    prices = [name for name, each in series.items() if each.books[0].role is Role.PRICES]
    for setting, name in {"default": default, "costs": costs, **projects}.items():
        if name and name not in series:
            raise CallerError(
                f"setting pricing: {setting} names the price book {name!r}, which is in none of the files"
            )
    if len(prices) > 1 and not default:
        raise CallerError(f"setting pricing.default: name one of the price books {', '.join(prices)}")
    for name in filter(None, (default, *projects.values())):
        if series[name].books[0].role is not Role.PRICES:
            raise CallerError(f"setting pricing: {name} is a book of costs")
    return Library(
        series=series,
        default=default or next(iter(prices), ""),
        projects=projects,
        costs=series[costs] if costs else next((s for s in series.values() if s.books[0].role is Role.COSTS), None),
    )


def example_books() -> dict[str, Series]:
    """Return the books that come with the server, by name."""
    return load_books(sorted(EXAMPLES.glob("*.toml")))
