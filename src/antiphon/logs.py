"""Structured logs: one JSON object per line, with a fixed set of fields, so that content and keys cannot get in."""

import logging
import sys
from datetime import UTC, datetime

import msgspec

FIELDS = (
    *("session", "project", "key", "surface", "model", "outcome", "charged"),
    *("backend", "state", "error", "reason", "restarts", "task"),
)


class JsonLines(logging.Formatter):
    """A formatter of the message, the named fields, and where an exception was raised, but never its text.

    Libraries put values into their messages (asyncio whole exceptions), so only the first line of their template is
    kept.
    """

    def format(self, record: logging.LogRecord) -> str:
        ours = record.name.partition(".")[0] == "antiphon"
        line = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "message": record.getMessage() if ours else str(record.msg).partition("\n")[0],
        }
        line |= {name: getattr(record, name) for name in FIELDS if hasattr(record, name)}
        if record.exc_info and record.exc_info[0]:
            line["error"] = record.exc_info[0].__name__
            trace = record.exc_info[2]
            frames = []
            while trace:
                frames.append(f"{trace.tb_frame.f_code.co_name}:{trace.tb_lineno}")
                trace = trace.tb_next
            line["where"] = " > ".join(frames[-8:])
        return msgspec.json.encode(line).decode()


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
