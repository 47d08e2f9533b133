"""What happens when programs that tests need are there, and when they are not."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from debian_peers import need
from mail_clients import NODE_MODULES

pytestmark = pytest.mark.peers

INSTALL = Path(__file__).with_name("install")
NOTHING_INSTALLED = {"dpkg-query": "exit 1", "apt-get": "echo must not run; exit 99", "id": "echo 1000"}


def test_nothing_is_done_when_all_is_there() -> None:
    need("postfix", "dovecot", "swaks", "msmtp", "curl", "openssl", "node", "npm", str(NODE_MODULES / "nodemailer"))
    need(
        "/usr/lib/dovecot/imap",
        "mbsync",
        "mutt",
        "fetchmail",
        "/usr/lib/cyrus/bin/imtest",
        str(NODE_MODULES / "imapflow"),
        "zbarimg",
    )
    done = subprocess.run([INSTALL], env={"PATH": os.environ["PATH"]}, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_who_is_not_root_is_told_what_is_missing_and_what_to_run(tmp_path: Path) -> None:
    for name, script in NOTHING_INSTALLED.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    done = subprocess.run([INSTALL], env={"PATH": path}, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert "missing: " in done.stderr
    assert " postfix " in done.stderr
    assert "sudo tests/peers/install" in done.stderr


def test_absent_program_is_a_skip_that_says_what_to_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="no-such-program: run tests/peers/install"):
        need("sh", "no-such-program")


def test_absent_program_is_a_failure_where_everything_must_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="no-such-program"):
        need("sh", "no-such-program")
