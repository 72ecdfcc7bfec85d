"""The controls of each framework: what the server does for it, what the data show of it, and what remains to be done by
the operator. A statement about this server is derived from data (`find`), or is marked as the operator's.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from antiphon.core.audit import Action
from antiphon.core.place import Agreement
from antiphon.trust.evidence.facts import Facts
from antiphon.trust.profiles import EU, HIPAA


class Status(StrEnum):
    """What the data here show of a control."""

    SHOWN = "shown"
    LACKING = "not met"
    OPERATOR = "the operator's to show"


@dataclass(frozen=True, slots=True)
class Finding:
    """What the data show."""

    status: Status
    text: str


Find = Callable[[Facts], Finding]


@dataclass(frozen=True, slots=True)
class Control:
    """A control: its reference in the framework and its subject, what the server does, the files that show it, and what
    remains for the operator.
    """

    reference: str
    subject: str
    does: str = ""
    find: Find | None = None
    files: tuple[str, ...] = ()
    remains: str = ""

    def finding(self, facts: Facts) -> Finding:
        if self.find is None:
            return Finding(Status.OPERATOR, "The server has no data about this.")
        return self.find(facts)


def _shown(good: bool, text: str) -> Finding:
    return Finding(Status.SHOWN if good else Status.LACKING, text)


def _integrity(facts: Facts) -> Finding:
    whole, log = facts.integrity, facts.log
    if whole.trouble:
        return _shown(False, f"The audit log could not be verified: {whole.trouble}.")
    unsigned = max(0, (log.last.number + 1 if log.last else 0) - whole.signed)
    text = f"{whole.records} records are whole, {log.records} of them of this period"
    text += f"; the last {unsigned} of the period are not signed for yet." if unsigned else ", all signed for."
    return _shown(log.records > unsigned, text)


def _log_kept(days: int) -> Find:
    def find(facts: Facts) -> Finding:
        kept = facts.setting("audit", "keep_days")
        return _shown(kept >= days, f"Records keep their contents for {kept} days; {days} are needed.")

    return find


def _sign_ins(facts: Facts) -> Finding:
    found = facts.log.sign_ins
    times = sum(each.times for each in found.values())
    return _shown(facts.log.records > 0, f"{times} failed sign-ins of {len(found)} sources and reasons were recorded.")


def _review(facts: Facts) -> Finding:
    keys = facts.keys
    held = [key for key in keys if key.holds(facts.at_ms)]
    remarked = sum(bool(facts.remarks(key)) for key in held)
    return _shown(
        bool(keys), f"{len(keys)} keys existed in the period; {len(held)} are valid, {remarked} of them with remarks."
    )


def _rotations(facts: Facts) -> Finding:
    made, ended = facts.log.actions[Action.KEY_CREATE], facts.log.actions[Action.KEY_REVOKE]
    old = sum("older than" in " ".join(facts.remarks(key)) for key in facts.keys)
    return _shown(not old, f"{made} keys were created and {ended} revoked; {old} valid keys are older than a year.")


def _tls(facts: Facts) -> Finding:
    if facts.setting("tls"):
        return _shown(True, "The server's port speaks TLS 1.2 and 1.3 only.")
    return Finding(Status.OPERATOR, "The server's port speaks plain HTTP: TLS is the proxy's in front of it.")


def _changes(facts: Facts) -> Finding:
    kinds = (Action.PROJECT_CREATE, Action.POLICY_CHANGE, Action.KEY_CREATE, Action.KEY_CHANGE, Action.KEY_REVOKE)
    changes, starts = sum(facts.log.actions[kind] for kind in kinds), facts.log.actions[Action.SERVER_START]
    return _shown(
        facts.log.records > 0, f"{changes} changes of projects, policies and keys, and {starts} starts were recorded."
    )


def _erasures(facts: Facts) -> Finding:
    actions = facts.log.actions
    kinds = (Action.PROJECT_ERASE, Action.ANSWER_DELETE, Action.FILE_DELETE, Action.JOB_DELETE, Action.TAGS_FORGET)
    done = sum(actions[kind] for kind in kinds)
    text = f"{actions[Action.SUBJECT_ERASE]} erasures of people, {done} other deletions and"
    text += f" {actions[Action.ANSWERS_EXPIRE] + actions[Action.FILES_EXPIRE]} expiries were recorded, each in the log."
    return _shown(facts.log.records > 0, text)


def _exports(facts: Facts) -> Finding:
    done = facts.log.actions[Action.SUBJECT_EXPORT]
    return _shown(facts.log.records > 0, f"{done} exports of what is kept about a person were recorded.")


def _sealed(facts: Facts) -> Finding:
    encryption = facts.setting("encryption")
    source = (
        "a command" if encryption["key_command"] else encryption["key_file"] or "ANTIPHON_MASTER_KEY or a local file"
    )
    text = f"Kept content is encrypted by a key of its project (AES-256-GCM), which a master key protects: {source}."
    return _shown(True, text)


def _retention(facts: Facts) -> Finding:
    keeping = [name for name, each in facts.view.projects.items() if facts.policy(name).keep_answers_s]
    total = len(facts.view.projects)
    text = f"{total - len(keeping)} of {total} projects keep no answers; the others have a time that ends by itself."
    return _shown(True, text)


def _agreement(agreement: Agreement) -> Find:
    def find(facts: Facts) -> Finding:
        getting = [each for each in facts.processors if each.content]
        without = [each.setting for each in getting if not each.has(agreement, facts.at_ms)]
        text = f"{len(getting) - len(without)} of {len(getting)} engines have one, or are the operator's own"
        return _shown(not without, f"{text}; without: {', '.join(without)}." if without else f"{text}.")

    return find


def _regions(facts: Facts) -> Finding:
    outside = [
        f"{each.setting} ({each.processing.region or 'no region'})"
        for each in facts.processors
        if each.content and not f"{each.processing.region}-".startswith("eu-")
    ]
    bound = [name for name in facts.view.projects if facts.policy(name).regions]
    text = f"{len(bound)} of {len(facts.view.projects)} projects require regions, which is enforced."
    if not outside:
        return _shown(True, f"All engines are in the EU. {text}")
    return Finding(Status.OPERATOR, f"Not in the EU: {', '.join(outside)}. {text}")


def _lost(facts: Facts) -> Finding:
    lost, failed = facts.log.actions[Action.AUDIT_LOSE], facts.log.actions[Action.REDACTION_FAIL]
    back = facts.log.actions[Action.CLOCK_SET_BACK]
    text = f"Audit records lost: {lost} events; redaction failed closed: {failed}; clock set back: {back}."
    return _shown(not lost, text)


def _marked(facts: Facts) -> Finding:
    return _shown(True, "Every answer with synthetic speech is marked; no setting switches that off.")


def _disclosed(facts: Facts) -> Finding:
    without = [name for name in facts.view.projects if not facts.policy(name).disclosure]
    text = "The policies of all projects have a sentence with which spoken conversations begin."
    if not without:
        return _shown(True, text)
    return Finding(Status.OPERATOR, f"The policies of these projects have no such sentence: {', '.join(without)}.")


_KEYS = "Access is by keys with scopes, of which only hashes are stored; revoked or expired ones end within a second."
_LOG = "Who was admitted or refused, and every change, is in an append-only, signed log."
_FAILED = "Refused sign-ins are recorded with their source and counted."
_OWN = "Content goes only to engines that satisfy the project's policy of place and processor."
_PASS = "controls on who may read the audit log and this folder"
_LOG_FILES = ("checkpoint.txt", "proof.json")

SOC2 = (
    Control("CC6.1", "Logical access", _KEYS, _review, ("access-review.md",), "Say who holds each key, and why."),
    Control(
        "CC6.2", "Registration and removal of access", "", _rotations, ("changes.jsonl",), "Revoke keys of leavers."
    ),
    Control(
        "CC6.3", "Roles and least privilege", _KEYS, _review, ("access-review.md",), "Review remarks; sign the review."
    ),
    Control(
        "CC6.6", "Threats from outside", _FAILED, _sign_ins, ("failed-sign-ins.json",), "Network, proxy, firewalls."
    ),
    Control(
        "CC6.7", "Transmission", "", _tls, ("configuration.json",), "TLS where this server's port does not have it."
    ),
    Control("CC7.2", "Monitoring", _LOG, _integrity, _LOG_FILES, "Alerts on metrics and on the log; " + _PASS + "."),
    Control(
        "CC7.3", "Evaluation of events", "", _lost, ("events.jsonl",), "Your records of incidents and what followed."
    ),
    Control("CC8.1", "Changes", _LOG, _changes, ("changes.jsonl",), "Approval of changes; tests of new versions."),
    Control("C1.1", "Confidential information", _OWN, _agreement(Agreement.DPA), ("processors.md",), "The agreements."),
    Control("C1.2", "Disposal", "", _erasures, ("erasures.jsonl",), "Disposal of backups, disks and machines."),
    Control("A1.2", "Backup and recovery", remains="Backups of the data directory, and tests of their recovery."),
    Control("CC1-CC5", "Environment, risk, people", remains="Policies, training, risk assessment, background checks."),
)
HIPAA_CONTROLS = (
    Control("164.308(a)(1)(ii)(D)", "Review of activity", _LOG, _integrity, _LOG_FILES, "Review the log regularly."),
    Control(
        "164.308(a)(4)", "Access management", _KEYS, _review, ("access-review.md",), "Authorise and review access."
    ),
    Control("164.308(a)(5)(ii)(C)", "Log-in monitoring", _FAILED, _sign_ins, ("failed-sign-ins.json",), "Follow up."),
    Control("164.308(a)(6)", "Incidents", "", _lost, ("events.jsonl",), "Response, reports and breach notices."),
    Control(
        *("164.308(b), 164.314(a)", "Business associates", _OWN, _agreement(Agreement.BAA), ("processors.md",)),
        remains="The signed agreements, and one with whoever hosts this machine.",
    ),
    Control(
        "164.312(a)(2)(i)", "Unique identification", _KEYS, _review, ("access-review.md",), "One key for each user."
    ),
    Control(
        *("164.312(a)(2)(iv)", "Encryption at rest", "", _sealed, ("configuration.json",)),
        remains="An encrypted volume for the data directory, whose ledger is plain, and for backups.",
    ),
    Control("164.312(b)", "Audit controls", _LOG, _integrity, _LOG_FILES, "Keep checkpoints outside this machine."),
    Control("164.312(c)(1)", "Integrity", _LOG, _integrity, _LOG_FILES),
    Control("164.312(d)", "Authentication", _FAILED, _sign_ins, ("failed-sign-ins.json",), "Distribution of keys."),
    Control("164.312(e)(1)", "Transmission", "", _tls, ("configuration.json",), "TLS to engines and in front of it."),
    Control(
        *("164.316(b)(2)(i)", "Six years of documentation", "", _log_kept(HIPAA.audit_days), ("configuration.json",)),
        remains="Keep this folder, too, for six years.",
    ),
    Control("164.308(a)(1), (2), (3), (7), (8)", "Risk, people, contingency", remains="Everything about them."),
    Control("164.310", "Physical safeguards", remains="Premises, machines, media."),
)
GDPR = (
    Control(
        "5(1)(e)", "Storage limitation", "Content is kept by policy only, with an end.", _retention, ("policies.json",)
    ),
    Control("5(2)", "Accountability", _LOG, _integrity, _LOG_FILES),
    Control("15, 20", "Access and portability", "", _exports, ("reads.jsonl",), "Answers to data subjects, in time."),
    Control("17", "Erasure", "", _erasures, ("erasures.jsonl",), "Requests of data subjects, and deletion in backups."),
    Control("25", "Protection by default", "Nothing is kept unless a policy says so.", _retention, ("policies.json",)),
    Control("28", "Processors", _OWN, _agreement(Agreement.DPA), ("processors.md",), "The signed agreements."),
    Control("30", "Records of processing", remains="The record itself: purposes, categories, recipients."),
    Control("32", "Security", "", _sealed, ("configuration.json",), "Backups, tests, the master key apart."),
    Control("33, 34", "Breaches", "", _lost, ("events.jsonl",), "Notices within 72 hours."),
    Control("35", "Impact assessment", remains="The assessment."),
    Control("44 to 49", "Transfers", _OWN, _regions, ("processors.md", "policies.json"), "The basis of each transfer."),
)
AI_ACT = (
    Control("12", "Record-keeping", _LOG, _integrity, _LOG_FILES, "Whether your use is of high risk."),
    Control("13, 14", "Instructions and oversight", remains="Instructions for use; people who can intervene."),
    Control(
        *("19, 26(6)", "Six months of logs", "", _log_kept(EU.audit_days), ("configuration.json",)),
        remains="Longer, if other law says so.",
    ),
    Control("26(7)", "Workers", remains="Tell workers and their representatives."),
    Control(
        *(
            "50(1)",
            "People know that they speak with a machine",
            "Spoken conversations begin by saying so.",
            _disclosed,
        ),
        files=("policies.json",),
        remains="Say so yourself where replies are in writing, or this server makes only the speech.",
    ),
    Control(
        *("50(2)", "Marking of synthetic speech", "In heads, container tags and signed manifests.", _marked),
        files=("policies.json",),
        remains="Keep the marks when you pass speech on: raw PCM can carry none.",
    ),
    Control("50(4)", "Deep fakes", remains="Disclose them where they are published."),
)
FRAMEWORKS: dict[str, tuple[str, tuple[Control, ...]]] = {
    "soc2": ("SOC 2: trust services criteria (2017, points of focus of 2022)", SOC2),
    "hipaa": ("HIPAA security rule (45 CFR part 164, subpart C)", HIPAA_CONTROLS),
    "gdpr": ("GDPR: Regulation (EU) 2016/679", GDPR),
    "ai-act": ("AI Act: Regulation (EU) 2024/1689", AI_ACT),
}
