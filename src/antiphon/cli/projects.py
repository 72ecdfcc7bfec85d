"""`antiphon projects`: make, change and list projects, whether a server runs or not."""

from typing import Annotated

import rich.box
import typer
from rich.console import Console
from rich.table import Table

from antiphon.cli.keys import now_unix_ms, open_control, parse_duration_ms, shown_time
from antiphon.cli.options import DEFAULT_DATA_DIR, DataDir

app = typer.Typer(help="Make, change and list projects, which own keys and usage.", no_args_is_help=True)

_NOTHING = "none"
_KEEP_HELP = "For how long models' answers are kept: 90m, 12h, 30d or 4w; 'none' keeps none."
_UNITS_S = {"w": 604_800, "d": 86_400, "h": 3_600, "m": 60, "s": 1}


@app.command()
def create(
    project_id: Annotated[str, typer.Argument(metavar="ID", help="Lower case letters, digits, '-' and '_'.")],
    name: Annotated[str, typer.Option(help="What people call it.")] = "",
    keep_answers: Annotated[str, typer.Option(help=_KEEP_HELP)] = _NOTHING,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Make a project."""
    keep_s = _parse_keep_s(keep_answers)
    project = open_control(data_dir).create_project(project_id, name, now_unix_ms(), keep_s)
    print(f"Project {project.id} is made. `antiphon keys create --project {project.id}` makes a key for it.")


@app.command("set")
def change(
    project_id: Annotated[str, typer.Argument(metavar="ID", help="The project's id, as in the list.")],
    keep_answers: Annotated[str, typer.Option(help=_KEEP_HELP)],
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Set what a project keeps. A running server follows within a second; what is older than that is gone."""
    project = open_control(data_dir).keep_answers(project_id, _parse_keep_s(keep_answers), now_unix_ms())
    print(f"Project {project.id} keeps answers: {_shown_keep(project.keep_answers_s)}.")


@app.command("list")
def list_projects(data_dir: DataDir = DEFAULT_DATA_DIR) -> None:
    """Show every project."""
    table = Table("Id", "Name", "Made", "Keeps answers", box=rich.box.SIMPLE_HEAD)
    for project in open_control(data_dir).list_projects():
        kept = _shown_keep(project.keep_answers_s)
        table.add_row(project.id, project.name, shown_time(project.created_unix_ms), kept)
    Console(markup=False, emoji=False).print(table)


def _parse_keep_s(text: str) -> int:
    return 0 if text == _NOTHING else parse_duration_ms(text, "keep-answers") // 1000


def _shown_keep(seconds: int) -> str:
    """In the largest unit that says it exactly."""
    if not seconds:
        return _NOTHING
    unit = next(unit for unit, size in _UNITS_S.items() if seconds % size == 0)
    return f"{seconds // _UNITS_S[unit]}{unit}"
