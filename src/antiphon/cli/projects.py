"""`antiphon projects`: make and list projects, whether a server runs or not."""

from typing import Annotated

import rich.box
import typer
from rich.console import Console
from rich.table import Table

from antiphon.cli.keys import now_unix_ms, open_control, shown_time
from antiphon.cli.options import DEFAULT_DATA_DIR, DataDir

app = typer.Typer(help="Make and list projects, which own keys and usage.", no_args_is_help=True)


@app.command()
def create(
    project_id: Annotated[str, typer.Argument(metavar="ID", help="Lower case letters, digits, '-' and '_'.")],
    name: Annotated[str, typer.Option(help="What people call it.")] = "",
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Make a project."""
    project = open_control(data_dir).create_project(project_id, name, now_unix_ms())
    print(f"Project {project.id} is made. `antiphon keys create --project {project.id}` makes a key for it.")


@app.command("list")
def list_projects(data_dir: DataDir = DEFAULT_DATA_DIR) -> None:
    """Show every project."""
    table = Table("Id", "Name", "Made", box=rich.box.SIMPLE_HEAD)
    for project in open_control(data_dir).list_projects():
        table.add_row(project.id, project.name, shown_time(project.created_unix_ms))
    Console(markup=False, emoji=False).print(table)
