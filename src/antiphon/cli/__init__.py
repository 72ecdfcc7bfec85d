"""The `antiphon` command: one file per command, loaded only if it is the one that runs.

A command NAME is in `cli/NAME.py` (with `_` for `-`) as that module's `app`, a `typer.Typer` with one command or a
group (a group of one only if there is a callback). To add one, write the file and its line in `COMMANDS`. This module
imports nothing slow, so `--help` is always fast.
"""

import importlib
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from antiphon import __version__
from antiphon.core.errors import AntiphonError

COMMANDS = {
    "serve": "Serve the API.",
    "transcribe": "Transcribe recordings with a running server.",
    "chat": "Talk with a language model of a running server.",
    "converse": "Talk with a language model of a running server, by voice.",
    "usage": "Show what was used.",
    "statement": "Show what a project owes for a month.",
    "budgets": "Show and set budgets and limits of organisations, projects and keys.",
    "compare-plans": "Show what usage would have cost by other price books.",
    "prices": "Check and import price books.",
    "export": "Show and settle what goes to billing systems outside.",
    "stripe": "Prepare Stripe for usage.",
    "keys": "Create, list, rotate, limit and revoke API keys.",
    "projects": "Create, change and list projects.",
    "webhooks": "Create, list and delete webhooks.",
    "policy": "Show what a project requires, and which engines may serve it.",
    "subjects": "Export and erase what is kept about a person.",
    "master-key": "Check and change the key that protects what is kept.",
    "audit": "Verify and export the audit log.",
    "evidence": "Write a folder of evidence for an auditor.",
    "models": "List, pull and find models.",
    "bench": "Measure a server at the client.",
}


class _LazyGroup(TyperGroup):
    """A group that knows the commands by name and summary, and imports the one that is called."""

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        name, _, rest = super().resolve_command(ctx, args)
        module = f"antiphon.cli.{name}".replace("-", "_")
        return name, name and typer.main.get_command(importlib.import_module(module).app), rest


app = typer.Typer(cls=_LazyGroup, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"antiphon {__version__}")
        raise typer.Exit


@app.callback()
def antiphon(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Run a self-hosted, production inference API for speech and language, for the SDKs you already use."""


def _summary() -> None:
    """Represent a command in the list until it is called."""


for _name, _help in COMMANDS.items():
    app.command(_name, help=_help)(_summary)


def main() -> None:
    """Run the command line. Exits with 1 on an error of ours, said in one line, and with 2 on wrong usage."""
    try:
        app(prog_name="antiphon")
    except AntiphonError as error:
        print(f"antiphon: {' '.join(error.message.split())}", file=sys.stderr)
        sys.exit(1)
    except OSError as error:
        if error.filename is None:  # a defect, not an unreadable file
            raise
        print(f"antiphon: {error.filename}: {error.strerror}", file=sys.stderr)
        sys.exit(1)
