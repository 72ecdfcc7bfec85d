import pytest

from antiphon.app import places_of
from antiphon.config import Config, Invalid, Whisper, load
from antiphon.session.places import CallKind
from antiphon.slo.shares import Bound

FAR = '[models]\nbig = "far"\n[engines.far]\nkind = "openai"\nserver = "vllm"\nurl = "http://far:1"\nmodel = "m"\n'


def write(tmp_path, text):
    path = tmp_path / "antiphon.toml"
    path.write_text(text)
    return path


def test_nothing_said_is_the_default():
    assert load(None, {}) == Config()
    assert (Config().host, Config().port) == ("127.0.0.1", 8080)
    named = {name for name, answer in Config().models.items() if answer == "moonshine-tiny-en"}
    assert {"nova-3", "whisper-1", "gpt-4o-transcribe"} <= named


def test_later_sources_win(tmp_path):
    path = write(tmp_path, 'host = "a"\nport = 1\ndata_dir = "d"\n[limits]\nrecordings = 5\n')
    environment = {"ANTIPHON_HOST": "b", "ANTIPHON_PORT": "2", "HOME": "/"}
    config = load(path, environment, {"host": "c", "port": None})
    assert (config.host, config.port, config.data_dir) == ("c", 2, "d")
    assert (config.limits.recordings, config.limits.live_streams) == (5, 1000)


@pytest.mark.parametrize(("text", "value"), [("1", True), ("true", True), ("FALSE", False), ("0", False)])
def test_yes_and_no_in_the_environment(text, value):
    assert load(None, {"ANTIPHON_OFFLINE": text}).offline is value


@pytest.mark.parametrize("name", ["ANTIPHON_HOST", "ANTIPHON_PORT", "ANTIPHON_API_KEY", "ANTIPHON_OFFLINE"])
def test_empty_in_the_environment_is_not_said(name):
    assert load(None, {name: ""}) == Config()


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("port = 70000", "port"),
        ('port = "x"', "port"),
        ("port = true", "port"),
        ("prot = 8080", "prot"),
        ("host = 1", "host"),
        ("[limits]\nrecordings = 0", "limits.recordings"),
        ("[limits]\nrecordingz = 3", "recordingz"),
        ("[recognition]\nworkers = 65", "recognition.workers"),
        ("[recognition]\nspeculative = 1", "recognition.speculative"),
        ("[objectives]\nstt_final_ms = 0", "objectives.stt_final_ms"),
        ('[fetch]\nallow = ["10.0.0.0/99"]', "fetch.allow"),
        ('[fetch]\nallow = "10.0.0.0/8"', "fetch.allow"),
        ('log_level = "loud"', "log_level"),
        ('region = "EU"', "region"),
        ('region = "nowhere"', "region"),
        ('[profiles]\nnew = "soc2"', "profiles.new"),
        ('[profiles]\nprojects = { acme = "gdpr" }', "profiles.projects.acme"),
        ('[profiles]\nnew = "hipaa"\n[audit]\nkeep_days = 365', "audit.keep_days"),
        (f'{FAR}region = "eu de"', "engines.far.region"),
        (f'{FAR}processor = "nobody"', "engines.far.processor"),
        (f'{FAR}retention = "30"', "engines.far.retention"),
        (f'{FAR}agreements = ["nda"]', "agreements[0]"),
        ('[engines.joe]\nkind = "piper"\nmodel = "en-us-joe-medium"\nregion = "eu"', "region"),
        ('api_key = "short"', "api_key"),
        ('api_key = "sixteen chars or möre"', "api_key"),
        ('[models]\n"nova-3" = "whisper-large"', "models"),
        (
            '[models]\nm = { engines = ["all-minilm-l6-v2"], hedge_after_ms = 9 }\n'
            '[engines.all-minilm-l6-v2]\nkind = "embedding"\nmodel = "m"',
            "models.m.hedge_after_ms",
        ),
        ("models = 3", "models"),
        ('data_dir = "~nobody-of-this-name/data"', "data_dir"),
        ('[audit]\nfile = "~nobody-of-this-name/log"', "audit.file"),
        ('[pricing]\nbooks = ["a.toml", "~nobody-of-this-name/b.toml"]', "pricing.books[1]"),
        (FAR.replace("http://far:1", "http://"), "engines.far.url"),
        (FAR.replace("http://far:1", "http://far:99999"), "engines.far.url"),
        (FAR.replace("http://far:1", "grpc://far:1"), "engines.far.url"),
        (f"{FAR}weight = 0", "engines.far.weight"),
        (f"{FAR}wait = 0", "engines.far"),
        ('[models.m]\nengines = ["far"]\nhedge_after_ms = -1', "models.m.hedge_after_ms"),
        ('[budgets]\nsecret_env = "SECRET"', "budgets.secret_env"),
        ('[oidc]\naudience = "antiphon"', "oidc.issuer"),
        ("nonsense", "--config"),
    ],
)
def test_an_error_in_the_file_names_the_setting(tmp_path, text, named):
    with pytest.raises(Invalid) as error:
        load(write(tmp_path, text), {})
    assert named in error.value.message


@pytest.mark.parametrize(
    ("environment", "named"),
    [
        ({"ANTIPHON_PORT": "eighty"}, "port"),
        ({"ANTIPHON_PORT": "-1"}, "port"),
        ({"ANTIPHON_PORT": "\u0668\u0660"}, "port"),  # eighty, in Arabic digits
        ({"ANTIPHON_PORT": "8\u00b2"}, "port"),
        ({"ANTIPHON_PORT": "8" * 5000}, "port"),
        ({"ANTIPHON_OFFLINE": "maybe"}, "offline"),
        ({"ANTIPHON_API_KEY": "short"}, "ANTIPHON_API_KEY"),
    ],
)
def test_an_error_in_the_environment_names_the_setting(environment, named):
    with pytest.raises(Invalid) as error:
        load(None, environment)
    assert named in error.value.message


def test_grpc_has_a_port_of_its_own(tmp_path):
    file = write(tmp_path, "[grpc]\nport = 1\nreflection = true")
    assert load(None, {}).grpc.port is None
    assert load(file, {}).grpc.port == 1
    assert load(file, {"ANTIPHON_GRPC_PORT": "2"}).grpc.port == 2
    given = load(file, {"ANTIPHON_GRPC_PORT": "2"}, {"grpc_port": 3}).grpc
    assert (given.port, given.reflection) == (3, True)
    with pytest.raises(Invalid, match="setting grpc: "):
        load(write(tmp_path, "grpc = 1"), {"ANTIPHON_GRPC_PORT": "2"})
    for wrong in ("x", "70000"):
        with pytest.raises(Invalid, match=r"grpc\.port"):
            load(None, {"ANTIPHON_GRPC_PORT": wrong})


def test_origins_of_pages(tmp_path):
    assert load(None, {}).origins == ("*",)
    assert load(write(tmp_path, 'origins = ["https://app.example.com"]'), {}).origins == ("https://app.example.com",)
    with pytest.raises(Invalid, match="origins"):
        load(write(tmp_path, 'origins = ["https://app.example.com/page"]'), {})


def test_an_error_on_the_command_line_names_the_setting():
    with pytest.raises(Invalid, match="port"):
        load(None, {}, {"port": 70_000})


def test_an_error_does_not_repeat_the_key():
    with pytest.raises(Invalid) as error:
        load(None, {"ANTIPHON_API_KEY": "hunter2"})
    assert "hunter2" not in error.value.message


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(Invalid, match=r"--config .*missing\.toml"):
        load(tmp_path / "missing.toml", {})
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(Invalid, match=r"--config .*bytes\.toml"):
        load(tmp_path / "bytes.toml", {})


def test_engines_of_ones_own_need_no_default_voices(tmp_path):
    text = '[models]\nm = { engines = ["e"] }\n[engines.e]\nkind = "embedding"\nmodel = "m"\n'
    assert load(write(tmp_path, text), {}).voices == {}
    assert load(write(tmp_path, "port = 1"), {}).voices == Config().voices


def test_a_project_and_a_key_may_be_given_less_than_there_is(tmp_path):
    path = tmp_path / "antiphon.toml"
    path.write_text("[limits]\nspeeches = 50\n[limits.per_project]\nspeeches = 20\n[limits.per_key]\nspeeches = 5\n")
    places = places_of(load(path, {}).limits)
    assert places[CallKind.SPEECH] == Bound(50, 20, 5)
    assert places[CallKind.LIVE] == Bound(1000, 0, 0)
    assert set(places) == set(CallKind)
    path.write_text("[limits.per_key]\nspeeches = -1\n")
    with pytest.raises(Invalid, match=r"limits\.per_key\.speeches"):
        load(path, {})


ONE_LIVE_NAME = '[models]\n"nova-3" = "moonshine-tiny-en"\n[engines]\n'
TWO = """
[models]
"nova-3" = "ears"
"whisper-1" = "second"
second = { engines = ["other-ears"] }

[engines.ears]
kind = "moonshine"

[engines.other-ears]
kind = "moonshine"
model = "/a/folder"
"""


def test_recognisers_are_engines_and_a_name_maps_to_any_of_them(tmp_path):
    config = load(write(tmp_path, TWO), {})
    assert list(config.recognisers) == ["ears", "other-ears"]
    assert {name: version.engines for name, version in config.versions.items()} == {
        "ears": ("ears",),
        "second": ("other-ears",),
    }
    assert config.aliases == {"nova-3": "ears", "whisper-1": "second"}
    assert config.catalogued == ("silero-vad", "moonshine-tiny-en")


def test_a_recogniser_of_the_catalog_needs_no_table(tmp_path):
    config = load(write(tmp_path, ONE_LIVE_NAME), {})
    assert list(config.recognisers) == ["moonshine-tiny-en"]
    assert config.catalogued == ("silero-vad", "moonshine-tiny-en")


def test_the_second_recogniser_of_the_catalog(tmp_path):
    text = '[models]\n"nova-3" = "moonshine-tiny-en"\n"whisper-1" = "whisper-tiny-en"\n[engines]\n'
    config = load(write(tmp_path, text), {})
    assert config.catalogued == ("silero-vad", "moonshine-tiny-en", "whisper-tiny-en")
    assert config.recognisers["whisper-tiny-en"] == Whisper(model="whisper-tiny-en")


def test_a_recogniser_that_no_name_is_answered_by_is_not_loaded(tmp_path):
    config = load(write(tmp_path, '[models]\n"all" = { engines = ["all-minilm-l6-v2"] }\n'), {})
    assert config.recognisers == {}
    assert "silero-vad" not in config.catalogued


LIFE = """
[models]
"new" = "new-1"
"old" = "old-1"
[models."new-1"]
engines = ["all-minilm-l6-v2"]
[models."old-1"]
engines = ["all-minilm-l6-v2"]
"""


@pytest.mark.parametrize(
    ("life", "wrong"),
    [
        ('deprecated = 2026-06-01\nsunset = 2026-06-01\nsuccessor = "new-1"', None),
        ('sunset = 2026-06-01\nsuccessor = "new"', None),
        ("deprecated = 2026-06-01", None),
        ("deprecated = 2026-06-01\nsunset = 2026-05-31", "sunset"),
        ('successor = "newer-1"', "successor"),
        ('successor = "old-1"', "successor"),
        ('successor = "old"', "successor"),
    ],
)
def test_a_model_is_gone_after_it_is_deprecated_and_another_one_follows(tmp_path, life, wrong):
    file = write(tmp_path, f"{LIFE}{life}\n")
    if wrong is None:
        assert load(file, {}).versions["old-1"]
        return
    with pytest.raises(Invalid, match=rf"setting models\.old-1\.{wrong}: "):
        load(file, {})


@pytest.mark.parametrize(
    ("life", "successor", "wrong"),
    [
        ("sunset = 2026-06-01", 'engines = ["all-minilm-l6-v2"]\nsunset = 2026-06-02', None),
        ("sunset = 2026-06-01", 'engines = ["all-minilm-l6-v2"]\nsunset = 2026-06-01', "gone"),
        ("deprecated = 2026-06-01", 'engines = ["all-minilm-l6-v2"]\nsunset = 2026-07-01', "gone"),
        ("sunset = 2026-06-01", 'engines = ["moonshine-tiny-en"]', "another kind"),
    ],
)
def test_a_successor_does_the_same_and_for_longer(tmp_path, life, successor, wrong):
    old = f'[models."old-1"]\nengines = ["all-minilm-l6-v2"]\nsuccessor = "new-1"\n{life}\n'
    file = write(tmp_path, f'{old}[models."new-1"]\n{successor}\n')
    if wrong is None:
        assert load(file, {}).versions["old-1"]
        return
    with pytest.raises(Invalid, match=rf"setting models\.old-1\.successor: 'new-1' is .*{wrong}"):
        load(file, {})


@pytest.mark.parametrize("engines", ['["ears", "other-ears"]', '["ears", "vectors"]'])
def test_one_engine_recognises_speech(tmp_path, engines):
    text = TWO + '[engines.vectors]\nkind = "embedding"\nmodel = "m"\n'
    with pytest.raises(Invalid, match=r"models\.second\.engines"):
        load(write(tmp_path, text.replace('["other-ears"]', engines)), {})


@pytest.mark.parametrize("url", ["http://a.example", "https://a.example/path", "https://u@a.example", "a.example"])
def test_browsers_reach_the_server_at_an_address_that_is_safe(tmp_path, url):
    known = 'issuer = "https://id.example"\naudience = "a"\nroles = { ops = "owner" }'
    assert load(write(tmp_path, f'[oidc]\n{known}\nurl = "https://a.example"\n'), {}).oidc.url == "https://a.example"
    with pytest.raises(Invalid, match=r"oidc\.url"):
        load(write(tmp_path, f'[oidc]\n{known}\nurl = "{url}"\n'), {})
