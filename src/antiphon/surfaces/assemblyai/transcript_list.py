"""`GET /v2/transcript`: the transcripts of a project, the latest first, one page at a time."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from urllib.parse import urlencode

from antiphon.core.errors import AntiphonError, CallerError, NotFound, UnsupportedParameter
from antiphon.core.jobs import Job, JobState, ManyJobs, Page
from antiphon.core.wire import Opening, Response, Step
from antiphon.surfaces.assemblyai import transcript_wire as wire
from antiphon.surfaces.assemblyai.endpoint import JSON, MAX_SHOWN, Endpoint
from antiphon.surfaces.assemblyai.transcript_call import KIND, PATH, STATUSES
from antiphon.surfaces.assemblyai.transcripts import error, iso
from antiphon.surfaces.assemblyai.values import flag, whole

MAX_LISTED, USUALLY_LISTED = 200, 10  # AssemblyAI's own
DAY_MS = 86_400_000
NAMES = ("limit", "status", "created_on", "before_id", "after_id", "throttled_only")


class ListTranscripts(Endpoint):
    """The endpoint. `before_id` begins a page of older transcripts, `after_id` one of newer ones."""

    def ask(self, opening: Opening, body: bytes) -> ManyJobs | Response:
        """Return the query for the page's jobs. Raises `CallerError`."""
        query = {name: value for name, value in opening.query if value}
        for name in query:
            if name not in NAMES and name != "token":
                raise UnsupportedParameter(f"Unknown parameter {name[:MAX_SHOWN]!r}.", param=name[:MAX_SHOWN])
        if "before_id" in query and "after_id" in query:
            raise CallerError("Give `before_id` or `after_id`, not both.", param="after_id")
        since, until = _day(query["created_on"]) if "created_on" in query else (0, 0)
        page = Page(
            query.get("before_id") or query.get("after_id", ""),
            whole(query, "limit", 1, MAX_LISTED) or USUALLY_LISTED,
            "after_id" not in query,
            since,
            until,
        )
        if flag(query, "throttled_only"):  # none is ever throttled
            return _page(query, page, (), False)
        return ManyJobs(KIND, page, lambda jobs, more: _page(query, page, jobs, more), _states(query))

    def refuse(self, opening: Opening, error: AntiphonError) -> Step:
        if isinstance(error, NotFound):
            error = CallerError("There is no transcript with the id `before_id` or `after_id`.", param="before_id")
        return super().refuse(opening, error)


def _states(query: Mapping[str, str]) -> frozenset[JobState]:
    value = query.get("status")
    found = frozenset(state for state, status in STATUSES.items() if status == value)
    if value and not found:
        known = ", ".join(dict.fromkeys(STATUSES.values()))
        raise CallerError(f"`status` must be one of {known}.", param="status")
    return found


def _day(text: str) -> tuple[int, int]:
    """Return the first moment of a day and of the next day, in UTC."""
    try:
        begins = datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        raise CallerError("`created_on` must be a date, YYYY-MM-DD.", param="created_on") from None
    unix_ms = int(begins.timestamp()) * 1000
    return unix_ms, unix_ms + DAY_MS


def _page(query: Mapping[str, str], page: Page, jobs: Sequence[Job], more: bool) -> Response:
    """Return the page, the latest first. A page that begins at an id has a link to its other side, too."""
    newest_first = jobs if page.newest_first else jobs[::-1]
    older, newer = (more, bool(page.after)) if page.newest_first else (bool(page.after), more)
    filters = {name: value for name, value in query.items() if name in ("status", "created_on", "throttled_only")}

    def url(**ids: str) -> str:
        return f"{PATH}?{urlencode({'limit': str(page.limit), **filters, **ids})}"

    details = wire.PageDetails(
        limit=page.limit,
        result_count=len(jobs),
        current_url=url(**{name: query[name] for name in ("before_id", "after_id") if name in query}),
        prev_url=url(before_id=newest_first[-1].id) if older and jobs else None,
        next_url=url(after_id=newest_first[0].id) if newer and jobs else None,
    )
    return Response(200, JSON, wire.write(wire.TranscriptPage(details, [_item(job) for job in newest_first])))


def _item(job: Job) -> wire.Item:
    return wire.Item(
        id=job.id,
        resource_url=f"{PATH}/{job.id}",
        status=STATUSES[job.state],
        created=iso(job.created_unix_ms),
        completed=iso(job.over_unix_ms) if job.over else None,
        audio_url=wire.named.decode(job.request).url,
        error=error(job) if STATUSES[job.state] == "error" else None,
    )
