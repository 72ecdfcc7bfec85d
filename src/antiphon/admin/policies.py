"""The part of the management API for policies: what is in force for a project, and which engines may serve it."""

from typing import Annotated, Any

from fastapi import Depends, FastAPI, Query
from pydantic import BaseModel, Field

from antiphon.admin.callers import own_or
from antiphon.core.identity import Principal, Scope
from antiphon.trust.control import Control
from antiphon.trust.residency import Policies, Verdict, shown_retention


class ProfileAnswer(BaseModel):
    """A profile: what it requires of the policy, and for how many days audit records keep their contents at least."""

    name: str
    help: str
    requires: dict[str, str | int]
    audit_days: int


class PolicyAnswer(BaseModel):
    """What is in force for a project: the stricter of what is `stored` and of what its profile requires."""

    project: str
    policy: dict[str, str | int]
    stored: dict[str, str | int]
    profile: ProfileAnswer | None
    audit_days: Annotated[int, Field(description="For so many days audit records keep their contents.")]


class UnmetRequirement(BaseModel):
    required: str
    found: str


class EngineVerdict(BaseModel):
    """Whether an engine may serve the project, and which requirements it does not meet."""

    engine: str
    allowed: bool
    region: str
    processor: str
    agreements: dict[str, str | None]
    retention: str
    unmet: list[UnmetRequirement]


class PolicyExplanation(BaseModel):
    project: str
    model: str
    allowed: Annotated[bool, Field(description="Whether any engine may serve the project.")]
    engines: list[EngineVerdict]


def add_policies(app: FastAPI, control: Control, policies: Policies, overseer: Any) -> None:
    """Add the routes; `overseer` authenticates a key that may read policies, at least its own project's."""

    @app.get("/projects/{project_id}/policy", operation_id="read_policy")
    def read_policy(project_id: str, caller: Annotated[Principal, Depends(overseer)]) -> PolicyAnswer:
        """Return what is in force for a project."""
        own_or(caller, project_id, Scope.ADMIN, Scope.AUDIT, param="id")
        project = control.find_project(project_id)
        profile = control.profiles.projects.get(project_id)
        shown = (
            profile
            if profile is None
            else ProfileAnswer(
                name=profile.name, help=profile.help, requires=dict(profile.fields), audit_days=profile.audit_days
            )
        )
        effective = control.profiles.effective(project_id, project.policy)
        return PolicyAnswer(
            project=project_id,
            policy=effective.values(),
            stored=project.policy.values(),
            profile=shown,
            audit_days=policies.audit_days,
        )

    @app.get("/projects/{project_id}/policy/explain", operation_id="explain_policy")
    def explain_policy(
        project_id: str,
        caller: Annotated[Principal, Depends(overseer)],
        model: Annotated[str, Query(max_length=256, description="A public name of a model or a voice")],
    ) -> PolicyExplanation:
        """Return which engines of a model may serve a project, and why not the others."""
        own_or(caller, project_id, Scope.ADMIN, Scope.AUDIT, param="id")
        policy = control.profiles.effective(project_id, control.find_project(project_id).policy)
        engines = [_verdict(each) for each in policies.explain(policy, model)]
        return PolicyExplanation(
            project=project_id, model=model, allowed=any(each.allowed for each in engines), engines=engines
        )


def _verdict(verdict: Verdict) -> EngineVerdict:
    processing = verdict.processing
    ends = {name.value: None if until is None else until.isoformat() for name, until in processing.agreements.items()}
    return EngineVerdict(
        engine=verdict.engine,
        allowed=verdict.allowed,
        region=processing.region,
        processor=processing.processor,
        agreements=ends,
        retention=shown_retention(processing.retention_s),
        unmet=[UnmetRequirement(required=each.required, found=each.found) for each in verdict.failures],
    )
