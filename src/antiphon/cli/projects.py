"""`antiphon projects`: make, change and list projects, also without a running server."""

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Annotated, Any

import rich.box
import typer
from rich.console import Console
from rich.table import Table

from antiphon.cli.keys import find_control, now_unix_ms, open_control, parse_duration_ms, shown_time
from antiphon.cli.options import ConfigFile, ConfiguredDataDir, group
from antiphon.cli.subjects import ApiKey, Url, Yes, erase_project
from antiphon.core.policy import MAX_WEIGHT, ConsentPolicy, Marking, Policy, PromptPolicy, TagPolicy
from antiphon.core.redaction import Substitution

app = group("Create, change and list projects, which own keys and usage.")

_NOTHING = "none"
_UNITS_S = {"w": 604_800, "d": 86_400, "h": 3_600, "m": 60, "s": 1}

Id = Annotated[str, typer.Argument(metavar="ID", help="Lower case letters, digits, '-' and '_'.")]

# The fields of a policy, as options; absent ones are not set.
OPTIONS: dict[str, Any] = {
    "keep_answers": Annotated[
        str | None, typer.Option(help="For how long models' answers are kept: 90m, 12h, 30d or 4w; 'none' keeps none.")
    ],
    "marking": Annotated[
        Marking | None,
        typer.Option(
            help="How synthetic speech is marked: always, and with 'signed' by a signed manifest in every answer."
        ),
    ],
    "weight": Annotated[
        int | None,
        typer.Option(
            help=f"Its share where projects compete, 1 to {MAX_WEIGHT}: with 3 it gets three times what one has with 1."
        ),
    ],
    "tags": Annotated[
        TagPolicy | None,
        typer.Option(
            help="What the ledger keeps of callers' tags and metadata, for ever: hashes, nothing, or all of it."
        ),
    ],
    "redact": Annotated[
        str | None,
        typer.Option(help="Personal data hidden in every answer: 'all', or 'name,phone,...'; '' hides none."),
    ],
    "redact_as": Annotated[
        Substitution | None, typer.Option(help="What stands in its place: the name of its kind, or '####'.")
    ],
    "redact_words": Annotated[
        list[str] | None, typer.Option("--redact-word", help="A further word or phrase to hide; repeat it for several.")
    ],
    "redact_patterns": Annotated[
        list[str] | None,
        typer.Option("--redact-pattern", help="A regular expression whose matches are hidden; as above."),
    ],
    "prompts": Annotated[
        PromptPolicy | None,
        typer.Option(
            help="What engines that others operate get of prompts with personal data: all, or placeholders, which "
            "are put back in answers with 'restored'."
        ),
    ],
    "models": Annotated[
        str | None, typer.Option(help="Models that it may use, by names or patterns: 'gpt-*,nova-3'; '' is all.")
    ],
    "regions": Annotated[
        str | None, typer.Option(help="Regions that engines must be in: 'eu' or 'eu-de,eu-fr'; '' is anywhere.")
    ],
    "processors": Annotated[
        str | None, typer.Option(help="Who may run its engines: 'self', or 'self,acme-gpu'; '' is anybody.")
    ],
    "agreements": Annotated[
        str | None, typer.Option(help="What processors must have signed: 'baa', 'dpa' or 'baa,dpa'; '' is nothing.")
    ],
    "max_retention": Annotated[
        str | None, typer.Option(help="For how long engines may retain content: 'none', 30d; '' is any time.")
    ],
    "consent": Annotated[
        ConsentPolicy | None,
        typer.Option(help="Which calls need a tag 'consent=...': none, or those that hear a voice."),
    ],
    "disclosure": Annotated[
        str | None,
        typer.Option(help="The sentence with which spoken conversations begin, such as that one speaks with an AI."),
    ],
    "stripe_customer": Annotated[
        str | None,
        typer.Option(
            help="Whose usage it is at Stripe: 'cus_...', 'none' if it does not go there, or '' if not said yet."
        ),
    ],
    "organisation": Annotated[
        str | None,
        typer.Option(help="The organisation that it belongs to, whose budgets and limits count it, too; '' is none."),
    ],
    "budgets": Annotated[
        list[str] | None,
        typer.Option(
            "--budget", help="A budget, as `antiphon budgets` shows it; repeat it for all that there are to be."
        ),
    ],
    "limits": Annotated[
        list[str] | None,
        typer.Option("--limit", help="The limits of the project or a key, as `antiphon budgets` shows them; as above."),
    ],
}


def with_policy(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command an option for each field of a policy; it gets those that are given as `policy`."""
    signature = inspect.signature(command)
    own = [each for each in signature.parameters.values() if each.name != "policy"]
    options = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=kind)
        for name, kind in OPTIONS.items()
    ]

    @wraps(command)
    def run(**arguments: Any) -> None:
        policy = {name: value for name in OPTIONS if (value := arguments.pop(name)) is not None}
        if "keep_answers" in policy:
            policy["keep_answers_s"] = _parse_keep_s(policy.pop("keep_answers"))
        command(**arguments, policy=policy)

    run.__signature__ = signature.replace(parameters=[*own, *options])  # type: ignore[attr-defined]
    return run


@app.command()
@with_policy
def create(
    project_id: Id,
    policy: dict[str, Any],
    name: Annotated[str, typer.Option(help="The name to show.")] = "",
    config: ConfigFile = None,
    data_dir: ConfiguredDataDir = None,
) -> None:
    """Make a project."""
    project = open_control(config, data_dir).create_project(project_id, name, now_unix_ms(), **policy)
    print(f"Project {project.id} is made. `antiphon keys create --project {project.id}` makes a key for it.")


@app.command("set")
@with_policy
def change(
    project_id: Id, policy: dict[str, Any], config: ConfigFile = None, data_dir: ConfiguredDataDir = None
) -> None:
    """Set a project's policy. A running server applies it within a second; answers kept for longer are deleted."""
    changed = open_control(config, data_dir).change_project(project_id, now_unix_ms(), **policy)
    print(f"Project {changed.id}:")
    for name, value in _shown(changed.policy).items():
        print(f"  {name}: {value}")


@app.command("forget-tags")
def forget_tags(project_id: Id, config: ConfigFile = None, data_dir: ConfiguredDataDir = None) -> None:
    """Destroy the key that hashed a project's tags, so that no usage can be found by them any more."""
    open_control(config, data_dir).forget_tags(project_id)
    print(f"The tags of project {project_id} in the ledger mean nothing any more. New ones are hashed by another key.")


@app.command("rotate-key")
def rotate_key(project_id: Id, config: ConfigFile = None, data_dir: ConfiguredDataDir = None) -> None:
    """Have a project's content sealed by a new key. What the earlier ones sealed stays readable until its end."""
    open_control(config, data_dir).rotate_content_key(project_id)
    print(f"Content of project {project_id} is sealed by a new key from now on.")


@app.command()
def erase(
    project_id: Id,
    yes: Yes = False,
    url: Url = "",
    api_key: ApiKey = "",
    config: ConfigFile = None,
    data_dir: ConfiguredDataDir = None,
) -> None:
    """Destroy the keys of a project's content and tags, erase the content, and print the certificate. The project, its
    API keys and its usage stay.
    """
    if not yes:
        typer.confirm(f"This cannot be undone. Erase all content of {project_id}?", abort=True, err=True)
    erase_project(project_id, url, api_key, config, data_dir)


@app.command("list")
def list_projects(config: ConfigFile = None, data_dir: ConfiguredDataDir = None) -> None:
    """Show every project, with what its policy says beyond the default one."""
    table, usual = Table("Id", "Name", "Made", "Policy", box=rich.box.SIMPLE_HEAD), _shown(Policy())
    for project in find_control(config, data_dir).list_projects():
        own = [f"{name}: {value}" for name, value in _shown(project.policy).items() if value != usual[name]]
        table.add_row(project.id, project.name, shown_time(project.created_unix_ms), "\n".join(own))
    Console(markup=False, emoji=False).print(table)


def _shown(policy: Policy) -> dict[str, str]:
    """Return every field as text."""
    shown = {name.replace("_", " "): str(value) for name, value in policy.values().items()}
    return {"keep answers": _shown_keep(policy.keep_answers_s)} | {
        k: v for k, v in shown.items() if k != "keep answers s"
    }


def _parse_keep_s(text: str) -> int:
    return 0 if text == _NOTHING else parse_duration_ms(text, "keep-answers") // 1000


def _shown_keep(seconds: int) -> str:
    """Return the time in the largest unit that is exact."""
    if not seconds:
        return _NOTHING
    unit = next(unit for unit, size in _UNITS_S.items() if seconds % size == 0)
    return f"{seconds // _UNITS_S[unit]}{unit}"
