"""Structured logs: one JSON object per line, with a fixed set of fields, so that content and keys cannot get in."""

import json
import logging
import re
import sys
from datetime import UTC, datetime

import msgspec

FIELDS = (
    *("session", "project", "key", "surface", "model", "outcome", "charged"),
    *("backend", "state", "error", "reason", "restarts", "task"),
)
_VALUE = re.compile("""[\n'"(<\\[{]""")  # where a value may begin


class JsonLines(logging.Formatter):
    """A formatter of the message, the named fields, and where an exception was raised, but never its text.

    Libraries put values into their messages (asyncio the arguments of a callback, and whole exceptions), so of their
    template only what stands before the first sign of one is kept.
    """

    def format(self, record: logging.LogRecord) -> str:
        ours = record.name.partition(".")[0] == "antiphon"
        line = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "message": record.getMessage() if ours else _without_values(record.msg),
        }
        attributes = vars(record)
        line |= {name: attributes[name] for name in FIELDS if name in attributes}
        if record.exc_info and record.exc_info[0]:
            line["error"] = record.exc_info[0].__name__
            trace = record.exc_info[2]
            frames = []
            while trace:
                frames.append(f"{trace.tb_frame.f_code.co_name}:{trace.tb_lineno}")
                trace = trace.tb_next
            line["where"] = " > ".join(frames[-8:])
        try:
            return msgspec.json.encode(line).decode()
        except UnicodeEncodeError:  # half a character, such as a file's name can have
            return json.dumps(line)


def _without_values(message: object) -> str:
    return _VALUE.split(message, 1)[0].rstrip() if isinstance(message, str) else type(message).__name__


def configure(level: str) -> None:
    """Log everything to standard error; libraries only from warnings on."""
    logging.raiseExceptions = False  # otherwise a line that cannot be written is dumped with its values
    # What no line shows is not determined (logging HOWTO, "Optimization").
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    setattr(logging, "_srcfile", None)  # noqa: B010
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("antiphon").setLevel(level.upper())
