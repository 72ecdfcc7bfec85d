from dataclasses import replace
from functools import partial

import pytest

from antiphon.core.errors import CallerError, Conflict, NotFound
from antiphon.core.identity import ENVIRONMENT_KEY_ID, KeyLimits, Scope, WebhookSettings
from antiphon.core.policy import Marking

NOW = 1_767_225_600_000


def test_the_first_start_makes_one_key_and_says_it_once(control):
    secret = control.prepare(None, NOW)
    assert secret is not None
    (key,) = control.list_keys()
    assert key.project == "default"
    assert key.scopes == frozenset(Scope)
    assert control.prepare(None, NOW) is None
    assert control.list_keys() == [key]
    assert [project.id for project in control.list_projects()] == ["default"]


def test_a_key_from_the_environment_holds_as_long_as_it_is_there(control):
    assert control.prepare("a-key-of-my-own-choice", NOW) is None
    (key,) = control.list_keys()
    assert (key.id, key.project, key.scopes) == (ENVIRONMENT_KEY_ID, "default", frozenset(Scope))
    assert control.prepare(None, NOW + 1) is not None
    assert {key.id: key.holds(NOW + 2) for key in control.list_keys()}[ENVIRONMENT_KEY_ID] is False
    control.prepare("a-key-of-my-own-choice", NOW + 3)
    assert {key.id: key.holds(NOW + 4) for key in control.list_keys()}[ENVIRONMENT_KEY_ID] is True


@pytest.mark.parametrize(
    "secret", ["", "fifteen-chars-x", "with a space in it", "umlaut-ä-in-the-key", "line\nbreak-1234567"]
)
def test_a_key_from_the_environment_that_will_not_do_is_refused(control, secret):
    with pytest.raises(CallerError, match="ANTIPHON_API_KEY"):
        control.prepare(secret, NOW)
    assert control.list_keys() == []


def test_webhooks_are_a_projects_own_and_audited(control, directory):
    control.create_project("acme", "", NOW)
    with pytest.raises(NotFound):
        control.create_webhook("none", "", "https://x.example/hook", NOW)
    first = control.create_webhook("acme", "first", "https://x.example/hook", NOW)
    second = control.create_webhook("acme", "", "http://x.example", NOW + 1)
    assert first.secret.startswith("wsec_")
    assert first.secret not in repr(first)
    assert first.secret != second.secret
    assert control.list_webhooks() == control.list_webhooks("acme") == [first, second]
    assert control.list_webhooks("default") == []
    assert control.delete_webhook(first.id, NOW + 2) == first
    assert control.list_webhooks("acme") == [second]
    with pytest.raises(NotFound):
        control.delete_webhook(first.id, NOW)
    done = [(each.record.action, each.record.object) for each in directory.changes()[1]]
    expected = [("webhook.create", first.id), ("webhook.create", second.id), ("webhook.delete", first.id)]
    assert [each for each in done if each[0].startswith("webhook")] == expected
    assert first.secret.encode() not in directory.path.read_bytes()


def test_a_webhook_is_changed(control, directory):
    hook = control.create_webhook("default", "a", "https://x.example", NOW)
    settings = WebhookSettings(disabled=True, subscribed=False, retries=False, headers=(("x-a", "b"),))
    for _ in range(2):  # the second changes nothing
        changed = control.change_webhook(hook.id, "b", lambda old: settings, NOW + 1)
        assert changed == replace(hook, name="b", settings=settings)
    assert control.list_webhooks() == [changed]
    done = [each.record.action for each in directory.changes()[1]]
    assert done.count("webhook.change") == 1
    assert "x-a" not in repr(changed)
    with pytest.raises(NotFound):
        control.change_webhook("none", "b", lambda old: settings, NOW)
    for headers in (
        [("host", "a")],
        [("Content-Type", "a")],
        [("ElevenLabs-Signature", "a")],
        [("a b", "c")],
        [("a", "b\r\nc: d")],
        [("a", "ü")],
        [("a", "b" * 1025)],
        [(f"a{number}", "b") for number in range(17)],
    ):
        with pytest.raises(CallerError):
            control.change_webhook(hook.id, "b", partial(replace, headers=tuple(headers)), NOW)
        with pytest.raises(CallerError):
            control.create_webhook("default", "b", "https://x.example", NOW, WebhookSettings(headers=tuple(headers)))


@pytest.mark.parametrize(
    "url", ["", "ftp://a/b", "https://", "https://a b", "https://user:word@a", "https://" + "a" * 2048]
)
def test_a_webhook_must_be_a_url_that_can_be_posted_to(control, url):
    with pytest.raises(CallerError):
        control.create_webhook("default", "", url, NOW)


def test_a_project_can_have_so_many_webhooks(control):
    for _ in range(16):
        control.create_webhook("default", "", "https://x.example", NOW)
    with pytest.raises(CallerError):
        control.create_webhook("default", "", "https://x.example", NOW)


def test_projects_have_an_id_and_a_name(control):
    control.create_project("acme", "Acme Inc.", NOW)
    assert [(project.id, project.name) for project in control.list_projects()] == [("acme", "Acme Inc.")]
    with pytest.raises(Conflict):
        control.create_project("acme", "", NOW)


@pytest.mark.parametrize("project_id", ["", "Acme", "a b", "-a", "ä", "a" * 64, "a/b", "a\n"])
def test_what_is_not_a_project_id_is_refused(control, project_id):
    with pytest.raises(CallerError):
        control.create_project(project_id, "", NOW)


@pytest.mark.parametrize("name", ["n" * 201, "\x1b[2J", "two\nlines"])
def test_names_are_short_and_printable(control, name):
    with pytest.raises(CallerError):
        control.create_project("acme", name, NOW)
    with pytest.raises(CallerError):
        control.create_key("default", name, [Scope.USAGE], NOW)


def test_the_default_project_is_there_when_a_key_wants_it(control):
    key, _ = control.create_key("default", "", [Scope.USAGE], NOW)
    assert [project.id for project in control.list_projects()] == [key.project] == ["default"]
    assert control.prepare(None, NOW) is None


def test_keys_belong_to_a_project(control):
    control.create_project("acme", "", NOW)
    control.create_project("other", "", NOW)
    key, secret = control.create_key("acme", "ci", [Scope.USAGE], NOW, NOW + 1_000)
    assert control.list_keys("acme") == [key]
    assert control.list_keys("other") == []
    assert secret.startswith(key.prefix)
    assert key.holds(NOW + 999)
    assert not key.holds(NOW + 1_000)


def test_a_key_needs_a_project_a_scope_and_a_future(control):
    control.create_project("acme", "", NOW)
    with pytest.raises(NotFound):
        control.create_key("nobody", "", [Scope.USAGE], NOW)
    with pytest.raises(CallerError):
        control.create_key("acme", "", [], NOW)
    with pytest.raises(CallerError):
        control.create_key("acme", "", [Scope.USAGE], NOW, NOW)
    assert control.list_keys() == []


def test_a_key_is_revoked_once_and_stays_listed(control):
    control.create_project("acme", "", NOW)
    key, _ = control.create_key("acme", "", [Scope.USAGE], NOW)
    assert control.revoke_key(key.id, NOW + 5).revoked_unix_ms == NOW + 5
    assert control.revoke_key(key.id, NOW + 9).revoked_unix_ms == NOW + 5
    assert [listed.id for listed in control.list_keys()] == [key.id]
    with pytest.raises(NotFound):
        control.revoke_key("nobody", NOW)


def test_a_project_keeps_nothing_until_it_is_told(control):
    control.create_project("acme", "", NOW)
    assert control.list_projects()[0].policy.keep_answers_s == 0
    assert control.change_project("acme", NOW, keep_answers_s=86_400).policy.keep_answers_s == 86_400
    control.create_project("other", "", NOW, keep_answers_s=60)
    assert {project.id: project.policy.keep_answers_s for project in control.list_projects()} == {
        "acme": 86_400,
        "other": 60,
    }
    with pytest.raises(NotFound):
        control.change_project("nobody", NOW, keep_answers_s=60)


def test_a_project_says_how_its_speech_is_marked(control):
    control.create_project("acme", "", NOW, keep_answers_s=60)
    assert control.list_projects()[0].policy.marking is Marking.MARKED
    assert control.change_project("acme", NOW, marking=Marking.SIGNED).policy.marking is Marking.SIGNED
    assert control.change_project("acme", NOW, keep_answers_s=0).policy.marking is Marking.SIGNED
    assert control.change_project("acme", NOW).policy.keep_answers_s == 0
    assert control.list_projects()[0].policy.marking is Marking.SIGNED
    control.create_project("other", "", NOW, marking=Marking.SIGNED)
    assert control.list_projects()[1].policy.marking is Marking.SIGNED
    assert control.change_project("other", NOW, marking=Marking.MARKED).policy.marking is Marking.MARKED


def test_a_project_has_a_weight(control):
    control.create_project("acme", "", NOW)
    assert control.list_projects()[0].policy.weight == 1
    assert control.change_project("acme", NOW, weight=3).policy.weight == 3
    assert control.change_project("acme", NOW, keep_answers_s=60).policy.weight == 3
    assert control.create_project("other", "", NOW, weight=1000).policy.weight == 1000
    for weight in (0, -1, 1001):
        with pytest.raises(CallerError):
            control.change_project("acme", NOW, weight=weight)
        with pytest.raises(CallerError):
            control.create_project("third", "", NOW, weight=weight)
    assert {project.id: project.policy.weight for project in control.list_projects()} == {"acme": 3, "other": 1000}


def test_the_default_project_is_there_when_its_retention_is_set(control):
    assert control.change_project("default", NOW, keep_answers_s=60).policy.keep_answers_s == 60
    control.prepare(None, NOW)
    assert [project.policy.keep_answers_s for project in control.list_projects()] == [60]


@pytest.mark.parametrize("seconds", [-1, 2**40])
def test_a_retention_out_of_bounds_is_refused(control, seconds):
    control.create_project("acme", "", NOW)
    with pytest.raises(CallerError):
        control.change_project("acme", NOW, keep_answers_s=seconds)
    with pytest.raises(CallerError):
        control.create_project("other", "", NOW, keep_answers_s=seconds)


def test_a_change_is_made_of_what_is_there_now_and_not_of_what_was_seen(control, directory, monkeypatch):
    """Another process changes the same between."""
    key, _ = control.create_key("default", "", [Scope.SPEAK], NOW)
    hook = control.create_webhook("default", "a", "https://x.example", NOW)
    control.change_organisation("group", NOW, limits="calls=5")
    seen = directory.view()
    control.limit_key(key.id, lambda old: replace(old, networks=("192.0.2.1",)), NOW)
    control.change_webhook(hook.id, "a", lambda old: replace(old, disabled=True), NOW)
    control.change_organisation("group", NOW, limits="calls=7")
    monkeypatch.setattr(directory, "view", lambda: seen)
    rotated, _ = control.rotate_key(key.id, 0, NOW + 1)
    assert rotated.limits.networks == ("192.0.2.1/32",)
    limited = control.limit_key(key.id, lambda old: replace(old, models=("m",)), NOW)
    assert limited.limits == KeyLimits(("192.0.2.1/32",), ("m",))
    changed = control.change_webhook(hook.id, "b", lambda old: replace(old, retries=False), NOW)
    assert changed.settings == WebhookSettings(disabled=True, retries=False)
    assert control.change_organisation("group", NOW, budgets="a tokens 5 day").limits == "calls=7"
    with pytest.raises(CallerError):
        control.change_organisation("group", NOW, budgets="nonsense")
    monkeypatch.undo()
    assert control.find_organisation("group").limits == "calls=7"
    assert control.find_organisation("group").budgets
    assert control.find_key(rotated.id) == rotated
