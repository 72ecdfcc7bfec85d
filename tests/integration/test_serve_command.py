"""`antiphon serve` from the start to what stops it."""

import os
import signal
import socket
import subprocess
import sys

import pytest

from serving import SPEECH, start


def serve(data_dir, *arguments, **environment):
    """A start that fails: exit code and the last line said."""
    done = subprocess.run(
        [sys.executable, "-m", "antiphon", "serve", "--offline", "--data-dir", str(data_dir), *arguments],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr.splitlines()[-1], done.stdout


@pytest.fixture
def data_dir(tmp_path, models):
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "models").symlink_to(models.root)
    return folder


def test_a_port_that_is_taken_is_named_and_costs_no_key(data_dir):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, said, told = serve(data_dir, "--port", str(port))
    assert code == 1
    assert f"127.0.0.1 port {port}" in said
    assert "API key" not in told
    assert not (data_dir / "control.db").exists()


def test_a_data_directory_that_cannot_be_had_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    code, said, _ = serve(tmp_path / "file")
    assert (code, said.startswith("antiphon: setting data_dir: ")) == (1, True)


def test_a_wrong_setting_is_named(data_dir):
    code, said, _ = serve(data_dir, ANTIPHON_PORT="eighty")
    assert (code, said.startswith("antiphon: setting port: ")) == (1, True)


def test_a_second_server_leaves_the_first_ones_data_alone(data_dir, models):
    process, _ = start(data_dir, models, SPEECH)
    try:
        code, said, _ = serve(data_dir, "--port", "0")
        assert code == 1
        assert "in use by another server" in said
    finally:
        process.send_signal(signal.SIGINT)
    assert process.wait(20) == 0
