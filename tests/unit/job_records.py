"""Records of jobs and their blobs, as a test wants them."""

from antiphon.core.identity import Scope
from antiphon.core.jobs import Blob, Job

NOW = 1_767_225_600_000
DAY_S = 86_400


def blob(id="file-1", created=NOW, ends=NOW + DAY_S * 1000, purpose="batch", subject=""):
    times = {"created_unix_ms": created, "ends_unix_ms": ends}
    return Blob(id=id, name="in.jsonl", purpose=purpose, subject=subject, **times)


def job(id="job-1", project="acme", created=NOW, **values):
    usual = {
        "kind": "batch",
        "key_id": "k1",
        "scopes": frozenset({Scope.GENERATE, Scope.SPEAK}),
        "request": b"{}",
        "input": "file-1",
        "output": f"{id}-out",
        "errors": f"{id}-err",
        "deadline_unix_ms": created + 3_600_000,
        "ends_unix_ms": created + DAY_S * 1000,
    }
    return Job(**usual | {"id": id, "project": project, "created_unix_ms": created} | values)
