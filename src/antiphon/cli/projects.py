"""`antiphon projects`: make, change and list projects, whether a server runs or not."""

from typing import Annotated

import rich.box
import typer
from rich.console import Console
from rich.table import Table

from antiphon.cli.keys import now_unix_ms, open_control, parse_duration_ms, shown_time
from antiphon.cli.options import DEFAULT_DATA_DIR, DataDir
from antiphon.trust.control import Marking

app = typer.Typer(help="Make, change and list projects, which own keys and usage.", no_args_is_help=True)

_NOTHING = "none"
_KEEP_HELP = "For how long models' answers are kept: 90m, 12h, 30d or 4w; 'none' keeps none."
_MARKING_HELP = "How synthetic speech is marked: always, and with 'signed' by a signed manifest in every answer."
_UNITS_S = {"w": 604_800, "d": 86_400, "h": 3_600, "m": 60, "s": 1}


@app.command()
def create(
    project_id: Annotated[str, typer.Argument(metavar="ID", help="Lower case letters, digits, '-' and '_'.")],
    name: Annotated[str, typer.Option(help="What people call it.")] = "",
    keep_answers: Annotated[str, typer.Option(help=_KEEP_HELP)] = _NOTHING,
    marking: Annotated[Marking, typer.Option(help=_MARKING_HELP)] = Marking.MARKED,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Make a project."""
    keep_s = _parse_keep_s(keep_answers)
    project = open_control(data_dir).create_project(project_id, name, now_unix_ms(), keep_s, marking)
    print(f"Project {project.id} is made. `antiphon keys create --project {project.id}` makes a key for it.")


@app.command("set")
def change(
    project_id: Annotated[str, typer.Argument(metavar="ID", help="The project's id, as in the list.")],
    keep_answers: Annotated[str | None, typer.Option(help=_KEEP_HELP)] = None,
    marking: Annotated[Marking | None, typer.Option(help=_MARKING_HELP)] = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Set what a project keeps, and how its speech is marked. A running server follows within a second; what was kept
    for longer is gone.
    """
    keep_s = None if keep_answers is None else _parse_keep_s(keep_answers)
    changed = open_control(data_dir).change_project(project_id, now_unix_ms(), keep_answers_s=keep_s, marking=marking)
    print(f"Project {changed.id} keeps answers: {_shown_keep(changed.keep_answers_s)}.")
    print(f"Its synthetic speech is {changed.marking}.")


@app.command("list")
def list_projects(data_dir: DataDir = DEFAULT_DATA_DIR) -> None:
    """Show every project."""
    table = Table("Id", "Name", "Made", "Keeps answers", "Speech is", box=rich.box.SIMPLE_HEAD)
    for project in open_control(data_dir).list_projects():
        kept = _shown_keep(project.keep_answers_s)
        table.add_row(project.id, project.name, shown_time(project.created_unix_ms), kept, project.marking)
    Console(markup=False, emoji=False).print(table)


def _parse_keep_s(text: str) -> int:
    return 0 if text == _NOTHING else parse_duration_ms(text, "keep-answers") // 1000


def _shown_keep(seconds: int) -> str:
    """In the largest unit that says it exactly."""
    if not seconds:
        return _NOTHING
    unit = next(unit for unit, size in _UNITS_S.items() if seconds % size == 0)
    return f"{seconds // _UNITS_S[unit]}{unit}"
