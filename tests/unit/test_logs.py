import ast
import asyncio
import contextlib
import gc
import io
import json
import logging
from pathlib import Path

import pytest

import antiphon
from antiphon.logs import FIELDS, JsonLines, configure

SECRET = "the caller's words"


class Logging:
    """Configured as the server does it while a test runs (pytest has handlers of its own before and after)."""

    def __enter__(self):
        root, ours = logging.getLogger(), logging.getLogger("antiphon")
        self._before = root.handlers[:], root.level, ours.level
        self._written = io.StringIO()
        root.handlers.clear()  # or they would be closed
        with contextlib.redirect_stderr(self._written):
            configure("info")
        return self

    def __exit__(self, *error):
        root, ours = logging.getLogger(), logging.getLogger("antiphon")
        logging.raiseExceptions = True
        root.handlers[:], level, our_level = self._before
        root.setLevel(level)
        ours.setLevel(our_level)

    @property
    def text(self):
        return self._written.getvalue()

    @property
    def lines(self):
        return [json.loads(line) for line in self.text.splitlines()]


@pytest.fixture
def logs():
    return Logging()


def fail():
    raise ValueError(SECRET)


def test_a_line_is_json_with_the_named_fields_alone(logs):
    with logs:
        extra = {"session": "s1", "charged": {"stt.audio_ms": 5}, "text": SECRET}
        logging.getLogger("antiphon.session").info("session ended", extra=extra)
    (line,) = logs.lines
    assert {key: line[key] for key in line if key != "at"} == {
        "level": "info",
        "message": "session ended",
        "session": "s1",
        "charged": {"stt.audio_ms": 5},
    }
    assert line["at"].endswith("+00:00")
    assert "text" not in FIELDS


def test_an_exception_is_told_by_its_type_and_place(logs):
    with logs:
        try:
            fail()
        except ValueError as error:
            logging.getLogger("antiphon.session").error("session failed", exc_info=error)
    (line,) = logs.lines
    assert line["error"] == "ValueError"
    assert "fail:" in line["where"]
    assert SECRET not in json.dumps(line)


def test_what_libraries_put_into_their_messages_is_left_out(logs):
    with logs:
        logging.getLogger("somebody.else").warning("got %s", SECRET)
        logging.getLogger("somebody").error(f"failed\n{SECRET}")
        logging.getLogger("somebody").error(ValueError(SECRET))
    assert [line["message"] for line in logs.lines] == ["got %s", "failed", "ValueError"]


async def test_a_callback_that_fails_tells_nothing_of_its_arguments(logs):
    def take(data):
        raise ValueError(data)

    with logs:
        asyncio.get_running_loop().call_soon(take, SECRET)
        await asyncio.sleep(0.01)
    (line,) = logs.lines
    assert line["message"].startswith("Exception in callback")
    assert SECRET[:8] not in json.dumps(line)


def test_half_a_character_costs_no_line(logs):
    with logs:
        logging.getLogger("antiphon").error("cannot be read", extra={"reason": "\udcff.pem"})
    assert [line["reason"] for line in logs.lines] == ["\udcff.pem"]


async def test_a_task_that_nobody_waited_for_tells_nothing(logs):
    async def task():
        fail()

    with logs:
        asyncio.create_task(task())  # noqa: RUF006
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        gc.collect()
    (line,) = logs.lines
    assert line["message"] == "Task exception was never retrieved"
    assert SECRET not in json.dumps(line)


def test_libraries_are_heard_from_warnings_on(logs):
    with logs:
        logging.getLogger("uvicorn.error").info("started")
        logging.getLogger("antiphon.session").debug("detail")
    assert logs.text == ""


def test_no_field_can_hold_a_key_or_content():
    record = logging.makeLogRecord({"name": "antiphon", "msg": "m", "secret": SECRET, "authorization": SECRET})
    assert SECRET not in JsonLines().format(record)


def test_a_line_that_cannot_be_written_is_not_told_elsewhere(logs, capsys):
    with logs:
        logging.getLogger("antiphon").info("got %s", SECRET, "too many")
    assert SECRET not in logs.text
    assert SECRET not in capsys.readouterr().err


def test_every_field_that_is_logged_is_one_of_the_set():
    """Another would be dropped without a word."""
    found = {}
    for path in Path(antiphon.__file__).parent.rglob("*.py"):
        for call in (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)):
            logs = isinstance(call.func, ast.Attribute) and getattr(call.func.value, "id", "") == "log"
            for given in (keyword.value for keyword in call.keywords if logs and keyword.arg == "extra"):
                found |= dict.fromkeys(fields_of(given, path), path.name)
    assert set(found) - set(FIELDS) == set()
    assert set(found) >= {"backend", "state", "reason", "restarts", "session"}  # or the walk finds too little


def fields_of(given, path):
    """The literal keys of a dictionary, which may stand in a variable of that file."""
    if isinstance(given, ast.Name):
        named = [
            node.value
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == given.id
        ]
        return [key for value in named for key in fields_of(value, path)]
    assert isinstance(given, ast.Dict), f"{path.name}:{given.lineno}: a dictionary was expected"
    return [key.value for key in given.keys]
