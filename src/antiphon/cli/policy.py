"""`antiphon policy`: what is in force for a project, and which engines may serve it, also without a running server."""

import time
from pathlib import Path
from typing import Annotated

import rich.box
import typer
from rich.console import Console
from rich.table import Table

from antiphon.cli.options import ConfigFile, ConfiguredDataDir, configured, group, master_key_source
from antiphon.config import Config
from antiphon.core.identity import DEFAULT_PROJECT
from antiphon.core.policy import Policy
from antiphon.core.units import NS_PER_MS
from antiphon.stores import open_stores
from antiphon.trust.control import Control
from antiphon.trust.profiles import PROFILES
from antiphon.trust.residency import Residency, shown_retention

app = group("Show what a project requires, and which engines may serve it.")

Project = Annotated[str, typer.Option(help="The project's id.")]


@app.command()
def show(project: Project = DEFAULT_PROJECT, config: ConfigFile = None, data_dir: ConfiguredDataDir = None) -> None:
    """Show the policy that is in force: the project's own, and what its profile requires."""
    settings, control, policy = _opened(project, config, data_dir)
    if profile := control.profiles.projects.get(project):
        print(f"profile: {profile.name}. {profile.help}")
    for name, value in policy.values().items():
        print(f"{name.replace('_', ' ')}: {value if value != '' else '-'}")
    print(f"audit records keep their contents: {settings.audit.keep_days}d")


@app.command()
def explain(
    model: Annotated[str, typer.Option(help="A public name of a model or a voice.")],
    project: Project = DEFAULT_PROJECT,
    config: ConfigFile = None,
    data_dir: ConfiguredDataDir = None,
) -> None:
    """Show which engines of a model may serve a project, and why not the others. Exits with 1 if none may."""
    settings, _, policy = _opened(project, config, data_dir)
    residency = Residency(settings.processing, lambda project: policy, _Now())
    verdicts = residency.verdicts(policy, settings.serving(model))
    table = Table("Engine", "May serve", "Region", "Processor", "Retention", "Why not", box=rich.box.SIMPLE_HEAD)
    for each in verdicts:
        place = each.processing
        why = "; ".join(f"{unmet.required} is required, {unmet.found}" for unmet in each.failures)
        retention = shown_retention(place.retention_s)
        table.add_row(
            *(each.engine, "yes" if each.allowed else "no", place.region or "-", place.processor or "-", retention, why)
        )
    Console(markup=False, emoji=False).print(table)
    if not any(each.allowed for each in verdicts):
        raise typer.Exit(1)


@app.command()
def profiles() -> None:
    """Show the profiles that the configuration can name."""
    for profile in PROFILES.values():
        print(f"{profile.name}: {profile.help}")
        for name, value in profile.fields:
            print(f"  {name.replace('_', ' ')}: {value}")
        print(f"  audit records keep their contents: {profile.audit_days}d or longer")


class _Now:
    """The system's clock."""

    def now_ns(self) -> int:
        return time.monotonic_ns()

    def unix_ms(self) -> int:
        return time.time_ns() // NS_PER_MS


def _opened(project: str, config: Path | None, data_dir: str | None) -> tuple[Config, Control, Policy]:
    """Return the configuration, the projects, and the policy that is in force for one. Raises `NotFound`."""
    settings = configured(config, data_dir)
    directory = open_stores(settings.directory, master_key_source(settings)).find_directory()
    control = Control(directory, profiles=settings.profiles.found)
    return settings, control, control.profiles.effective(project, control.find_project(project).policy)
