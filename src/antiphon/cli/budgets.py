"""`antiphon budgets`: what projects may use, and what is left of it; also without a running server.

Without a server, what is used is read from the ledger. What running calls have reserved is known to the server only.
"""

import asyncio
import json
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import rich.box
import typer
from rich.console import Console
from rich.table import Table

from antiphon.cli.keys import find_control, now_unix_ms, open_control, shown_time
from antiphon.cli.options import ConfigFile, ConfiguredDataDir, configured, configured_stores, group
from antiphon.core.budgets import (
    COUNTS,
    EVERY,
    Budget,
    Limits,
    Measure,
    Window,
    owned_budgets,
    parse_amount,
    parse_budgets,
    parse_limits,
    parse_time,
    shown,
    text_of,
)
from antiphon.core.errors import CallerError, InternalError, NotFound
from antiphon.core.identity import Organisation
from antiphon.core.policy import Policy
from antiphon.metering.budgets import record
from antiphon.metering.pricing.library import make_library
from antiphon.metering.rebuilding import rebuilt

app = group("Show and set budgets and limits of organisations, projects and keys.")

NO_LIMIT = "none"


class Kind(StrEnum):
    """A measure, as it is written."""

    MONEY = "money"
    TOKENS = "tokens"
    CHARACTERS = "characters"
    AUDIO_MS = "audio_ms"
    REQUESTS = "requests"


Whose = Annotated[str, typer.Option("--project", help="The project's id.")]
Together = Annotated[
    str, typer.Option("--organisation", help="Instead of a project: an organisation, with all its projects together.")
]
Of = Annotated[str, typer.Option("--key", help="Of this key (its id) alone.")]
Number = Annotated[str | None, typer.Option(help=f"A number, or '{NO_LIMIT}'.")]


@app.command()
def show(
    project: Whose = "",
    organisation: Together = "",
    url: Annotated[str, typer.Option(help="Ask this running server, which knows what is reserved.")] = "",
    api_key: Annotated[str, typer.Option(envvar="ANTIPHON_API_KEY", help="The key to ask it with.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    config: ConfigFile = None,
    data_dir: ConfiguredDataDir = None,
) -> None:
    """Show what is used and left of the budgets of a project or an organisation, and its limits."""
    kind, id = _named(project, organisation).split()
    found = None if url else _find(project, organisation, config, data_dir)
    states = _fetch(url, api_key, {kind: id}) if url else _read(project, organisation, config, data_dir)
    if as_json:
        print(json.dumps(states, indent=2))
        return
    table = Table("Budget", "Whose", "Window", box=rich.box.SIMPLE_HEAD)
    for column in ("Amount", "Used", "Reserved", "Left", "Until"):
        table.add_column(column, justify="right", no_wrap=True)
    for state in states:
        measure, until = Measure[state["measure"].upper()], state["until_unix_ms"]
        unit = state["currency"] or state["measure"]
        amounts = (shown(measure, state[name]) for name in ("amount", "used", "reserved", "left"))
        window = state["window"] + ("" if state["hard"] else " (soft)")
        end = shown_time(until) if until is not None else "-"
        whose = state["key"] or ("project" if state["project"] else "organisation")
        table.add_row(f"{state['name']} ({unit})", whose, window, *amounts, end)
    console = Console(markup=False, emoji=False)
    console.print(table)
    for limits in parse_limits(found.limits) if found is not None else ():
        console.print(f"limits: {limits}")


@app.command("set")
def set_budget(
    name: Annotated[str, typer.Argument(help="Its name in the project: lower case letters, digits, '-' and '_'.")],
    measure: Annotated[Kind, typer.Argument(help="What it counts.")],
    amount: Annotated[str, typer.Argument(help="How much; money in the currency of the price book, such as 50.00.")],
    window: Annotated[Window, typer.Argument(help="How long it lasts; 'once' is a grant of prepaid credit.")],
    project: Whose = "",
    organisation: Together = "",
    key: Of = EVERY,
    soft: Annotated[bool, typer.Option("--soft", help="Only raise alerts; refuse nothing.")] = False,
    since: Annotated[str | None, typer.Option("--from", help="A grant counts from then on; now if left out.")] = None,
    until: Annotated[str | None, typer.Option(help="A grant ends then (ISO 8601, UTC); never if left out.")] = None,
    config: ConfigFile = None,
    data_dir: ConfiguredDataDir = None,
) -> None:
    """Set a budget, or change it. A running server applies it within a second."""
    once = window is Window.ONCE
    if not once and (since or until):
        raise CallerError("only what is granted once has --from and --until")
    counted = Measure[measure.name]
    before = {each.name: each for each in parse_budgets(_find(project, organisation, config, data_dir).budgets)}
    begins = before[name].since_unix_ms if name in before and before[name].since_unix_ms else now_unix_ms()
    try:
        budget = Budget(
            *(name, counted, parse_amount(counted, amount), window, not soft, key),
            since_unix_ms=parse_time(since) if since else begins if once else 0,
            until_unix_ms=parse_time(until) if until else None,
        )
        _put(project, organisation, config, data_dir, budgets=text_of((before | {name: budget}).values()))
    except ValueError as error:
        raise CallerError(f"this is no budget: {error}") from None
    print(f"{_named(project, organisation).capitalize()}: {budget}")


@app.command()
def remove(
    name: Annotated[str, typer.Argument(help="The budget's name.")],
    project: Whose = "",
    organisation: Together = "",
    config: ConfigFile = None,
    data_dir: ConfiguredDataDir = None,
) -> None:
    """Remove a budget."""
    before = parse_budgets(_find(project, organisation, config, data_dir).budgets)
    if all(each.name != name for each in before):
        raise NotFound(f"{_named(project, organisation)} has no budget '{name}'")
    _put(project, organisation, config, data_dir, budgets=text_of(each for each in before if each.name != name))
    print(f"The budget {name} of {_named(project, organisation)} is removed.")


@app.command()
def limit(
    project: Whose = "",
    organisation: Together = "",
    key: Of = EVERY,
    requests_per_minute: Number = None,
    tokens_per_minute: Number = None,
    live_streams: Number = None,
    calls: Number = None,
    config: ConfigFile = None,
    data_dir: ConfiguredDataDir = None,
) -> None:
    """Set limits of rate and of calls at once, or take them away. Others stay as they are."""
    values = dict(zip(COUNTS, (requests_per_minute, tokens_per_minute, live_streams, calls), strict=True))
    before = {each.key: each for each in parse_limits(_find(project, organisation, config, data_dir).limits)}
    changes: dict[str, Any] = {}
    for name, text in values.items():
        if text is not None:
            if text != NO_LIMIT and not (text.isascii() and text.isdigit()):
                raise CallerError(f"'{text}' is neither a number nor '{NO_LIMIT}'", param=name)
            changes[name] = None if text == NO_LIMIT else int(text)
    changed = replace(before.get(key, Limits(key)), **changes)
    kept = {**before, key: changed}
    if changed == Limits(key):
        del kept[key]
    _put(project, organisation, config, data_dir, limits=text_of(kept.values()))
    whose = _named(project, organisation)
    limits = str(changed) if key in kept else f"no limits for {key or f'the {whose.split()[0]}'}"
    print(f"{whose.capitalize()}: {limits}")


def _find(project: str, organisation: str, config: Path | None, data_dir: str | None) -> Policy | Organisation:
    """Return what has the budgets: the policy of a project, or an organisation."""
    _named(project, organisation)
    control = find_control(config, data_dir)
    if organisation:
        return control.find_organisation(organisation)
    return control.find_project(project).policy


def _named(project: str, organisation: str) -> str:
    """Return whose budgets they are, in words."""
    if bool(project) == bool(organisation):
        raise CallerError("say whose budgets they are: either --project or --organisation")
    return f"project {project}" if project else f"organisation {organisation}"


def _put(project: str, organisation: str, config: Path | None, data_dir: str | None, **texts: str) -> None:
    """Set budgets or limits."""
    control = open_control(config, data_dir)
    if organisation:
        control.change_organisation(organisation, now_unix_ms(), **texts)
    else:
        control.change_project(project, now_unix_ms(), **texts)


def _read(project: str, organisation: str, config: Path | None, data_dir: str | None) -> list[dict[str, Any]]:
    """Return the budgets as the ledger has them."""
    pricing = configured(config, data_dir).pricing
    library = make_library(map(Path, pricing.books), pricing.default, pricing.projects, pricing.costs)
    control = find_control(config, data_dir)
    text = _find(project, organisation, config, data_dir).budgets
    if not text:
        return []
    projects = [project] if project else control.list_organisations().get(control.find_organisation(organisation), [])
    budgets, now = owned_budgets(text, project), now_unix_ms()
    funds, _ = rebuilt(configured_stores(config, data_dir).usage, library.of, projects, budgets, now)
    return [record(state, funds.currency(state.budget)) for state in funds.states(now)]


def _fetch(url: str, api_key: str, whose: dict[str, str]) -> list[dict[str, Any]]:
    """Return the budgets as a running server has them."""
    import aiohttp

    async def ask() -> Any:
        headers = {"Authorization": f"Bearer {api_key}"}
        async with (
            aiohttp.ClientSession(headers=headers) as http,
            http.get(f"{url.rstrip('/')}/admin/v1/budgets", params=whose) as response,
        ):
            return response.status, await response.json()

    try:
        status, answer = asyncio.run(ask())
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        raise InternalError(f"no answer from {url}: {error or type(error).__name__}") from error
    if status != 200:
        raise CallerError(answer["error"]["message"])
    states: list[dict[str, Any]] = answer["data"]
    return states
