"""`antiphon subjects`: export and erase what is kept about a person.

With `--url` a running server does it, which also has content in memory; else it is done in the data directory of a
server that does not run.
"""

import asyncio
import json
import sys
from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import Annotated

import typer

from antiphon.cli.keys import caller
from antiphon.cli.options import ConfigFile, ConfiguredDataDir, configured, group
from antiphon.core.errors import AntiphonError, CallerError, LedgerUnavailable
from antiphon.core.identity import DEFAULT_PROJECT

app = group("Export and erase what is kept about a person.")

ANSWER_S = 3600.0
ERROR_BYTES = 64 * 1024

Subject = Annotated[str, typer.Argument(help="The person, as callers name them in a tag 'subject=...'.")]
Project = Annotated[str, typer.Option(help="The project's id.")]
Url = Annotated[
    str, typer.Option(help="The origin of a running server. Without it, the server must not run.", show_default=False)
]
ApiKey = Annotated[str, typer.Option(envvar="ANTIPHON_API_KEY", help="With --url: a key with the scope 'admin'.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


@app.command()
def export(
    subject: Subject,
    project: Project = DEFAULT_PROJECT,
    url: Url = "",
    api_key: ApiKey = "",
    config: ConfigFile = None,
    data_dir: ConfiguredDataDir = None,
) -> None:
    """Print everything that is kept about a person, one line of JSON each; the last one has the counts."""
    if url:
        asyncio.run(_post(url, api_key, f"projects/{project}/subjects/export", {"subject": subject}))
    else:
        asyncio.run(_export(config, data_dir, project, subject))


@app.command()
def erase(
    subject: Subject,
    project: Project = DEFAULT_PROJECT,
    yes: Yes = False,
    url: Url = "",
    api_key: ApiKey = "",
    config: ConfigFile = None,
    data_dir: ConfiguredDataDir = None,
) -> None:
    """Erase everything that is kept about a person, and print the certificate. Usage keeps its quantities."""
    if not yes:
        typer.confirm("This cannot be undone. Erase it?", abort=True, err=True)
    if url:
        asyncio.run(_post(url, api_key, f"projects/{project}/subjects/erase", {"subject": subject}))
    else:
        asyncio.run(_erase(config, data_dir, project, subject))


def erase_project(project: str, url: str, api_key: str, config: Path | None, data_dir: str | None) -> None:
    """Erase all content of a project, and print the certificate."""
    if url:
        asyncio.run(_post(url, api_key, f"projects/{project}/erase", None))
    else:
        asyncio.run(_erase(config, data_dir, project, None))


async def _export(config: Path | None, data_dir: str | None, project: str, subject: str) -> None:
    from antiphon.foundation import open_subjects  # slow to import

    with _alone():
        async with (
            open_subjects(configured(config, data_dir)) as subjects,
            aclosing(subjects.export(project, subject, caller())) as lines,
        ):
            async for line in lines:
                print(json.dumps(line))


async def _erase(config: Path | None, data_dir: str | None, project: str, subject: str | None) -> None:
    from antiphon.foundation import open_subjects

    with _alone():
        async with open_subjects(configured(config, data_dir)) as subjects:
            if subject is None:
                certificate = await subjects.erase_project(project, caller())
            else:
                certificate = await subjects.erase(project, subject, caller())
    print(json.dumps(certificate.shown()))


@contextmanager
def _alone() -> Iterator[None]:
    """Say what to do if a server has the data directory."""
    try:
        yield
    except LedgerUnavailable as error:
        if "in use" not in error.message:
            raise
        raise CallerError(f"{error.message}: give its --url, and a key with the scope 'admin'") from None


async def _post(url: str, api_key: str, path: str, body: object) -> None:
    """Have a running server do it, and print its answer. Raises `AntiphonError` if it is refused."""
    import aiohttp

    headers = {"authorization": f"Bearer {api_key}"}
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=ANSWER_S)) as session,
            session.post(f"{url.rstrip('/')}/admin/v1/{path}", json=body, headers=headers) as answer,
        ):
            if answer.status != 200:
                raise CallerError(_reason(await answer.content.read(ERROR_BYTES), answer.status))
            async for chunk in answer.content.iter_any():
                sys.stdout.buffer.write(chunk)
            if answer.content_type == "application/json":
                sys.stdout.buffer.write(b"\n")
            sys.stdout.buffer.flush()
    except (aiohttp.ClientError, TimeoutError) as error:
        raise AntiphonError(f"{url} does not answer: {type(error).__name__}") from None


def _reason(body: bytes, status: int) -> str:
    try:
        return str(json.loads(body)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return f"the server answered with status {status}"
