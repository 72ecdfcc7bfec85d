"""`antiphon webhooks`: where a project's jobs report their ends, also without a running server."""

import sys
from typing import Annotated

import rich.box
import typer
from rich.console import Console
from rich.table import Table

from antiphon.cli.keys import find_control, now_unix_ms, open_control, shown_time
from antiphon.cli.options import ConfigFile, ConfiguredDataDir, group
from antiphon.core.identity import DEFAULT_PROJECT

_STATES = {False: "in use", True: "disabled"}
app = group("Create, list and delete webhooks.")


@app.command()
def create(
    url: Annotated[str, typer.Argument(metavar="URL", help="Where to post: an address on the public internet.")],
    project: Annotated[str, typer.Option(help="The project whose jobs report there.")] = DEFAULT_PROJECT,
    name: Annotated[str, typer.Option(help="A name for the list.")] = "",
    config: ConfigFile = None,
    data_dir: ConfiguredDataDir = None,
) -> None:
    """Create a webhook and print the secret that signs what is sent there. It is shown only once."""
    webhook = open_control(config, data_dir).create_webhook(project, name, url, now_unix_ms())
    print(webhook.secret)
    print(
        f"Webhook {webhook.id} of project {webhook.project}. Keep the secret: it is not shown again.", file=sys.stderr
    )


@app.command("list")
def list_webhooks(
    project: Annotated[str | None, typer.Option(help="Only this project's.")] = None,
    config: ConfigFile = None,
    data_dir: ConfiguredDataDir = None,
) -> None:
    """Show every webhook, without its secret."""
    table = Table("Id", "Project", "Name", "URL", "Made", "State", box=rich.box.SIMPLE_HEAD)
    for each in find_control(config, data_dir).list_webhooks(project):
        table.add_row(
            each.id, each.project, each.name, each.url, shown_time(each.created_unix_ms), _STATES[each.disabled]
        )
    Console(markup=False, emoji=False).print(table)


@app.command()
def delete(
    webhook_id: Annotated[str, typer.Argument(metavar="ID", help="The webhook's id, as in the list.")],
    config: ConfigFile = None,
    data_dir: ConfiguredDataDir = None,
) -> None:
    """Delete a webhook with its secret. A running server sends nothing there within a second."""
    webhook = open_control(config, data_dir).delete_webhook(webhook_id, now_unix_ms())
    print(f"Webhook {webhook.id} of project {webhook.project} is deleted.")
