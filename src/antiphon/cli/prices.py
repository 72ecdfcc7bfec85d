"""`antiphon prices`: check, show and import price books."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from antiphon.cli.options import group
from antiphon.core.errors import CallerError
from antiphon.metering.pricing.library import EXAMPLES, load_book
from antiphon.metering.pricing.litellm import convert
from antiphon.metering.pricing.parse import InvalidBook

app = group("Check and import price books, and show the examples.")


@app.command()
def check(files: Annotated[list[Path], typer.Argument(help="TOML files.")]) -> None:
    """Check whole price books, and report every error with its line."""
    valid = True
    for file in files:
        try:
            book = load_book(file)
        except InvalidBook as error:
            valid = False
            for problem in error.problems:
                print(f"{file}:{problem.line}: {problem.message}", file=sys.stderr)
        else:
            known = f"{book.name} {book.version}, {len(book.prices)} prices in {book.currency}"
            print(f"{file}: {known}, SHA-256 {book.sha256}")
    if not valid:
        raise typer.Exit(1)


@app.command("import")
def import_table(
    file: Annotated[Path, typer.Argument(help="LiteLLM's model_prices_and_context_window.json.")],
    book: Annotated[str, typer.Option(help="The name of the book.")] = "litellm",
    version: Annotated[str, typer.Option(help="The name of this version.")] = "1",
    since: Annotated[str, typer.Option("--from", help="The date from which on it holds.")] = "2026-01-01",
    currency: Annotated[str, typer.Option(help="The file names none; its prices are in US dollars.")] = "USD",
    models: Annotated[str, typer.Option(help="Only models whose name begins so.")] = "",
) -> None:
    """Make a price book from LiteLLM's price table, on standard output; what it cannot express goes to standard error.

    The table has no increments, minima or dates: set them by hand.
    """
    try:
        data = file.read_bytes()
    except OSError as error:
        raise CallerError(f"{file} cannot be read: {error.strerror}") from None
    made = convert(data, book=book, version=version, since=since, currency=currency, models=models)
    sys.stdout.write(made.text)
    for note in made.notes:
        print(note, file=sys.stderr)
    print(made.summary, file=sys.stderr)


@app.command()
def examples(name: Annotated[str | None, typer.Argument(help="Show the file of this one.")] = None) -> None:
    """List the example books that come with the server, or print one to start from."""
    found = {path.stem: path for path in sorted(EXAMPLES.glob("*.toml"))}
    if name is None:
        for stem, path in found.items():
            print(f"{stem:12} {load_book(path).notes}")
    elif name in found:
        sys.stdout.write(found[name].read_text())
    else:
        raise CallerError(f"example {name!r} not found. Available: {', '.join(found)}.")
