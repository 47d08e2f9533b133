"""The modules of bench/ are imported by plain name, as bench/run.py does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from debian_peers import need

BENCH = Path(__file__).parents[2] / "bench"
sys.path.append(str(BENCH))


@pytest.fixture(scope="session")
def generator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The load generator for IMAP, built."""
    need("gcc", "make", "/usr/include/openssl/ssl.h")
    programs = tmp_path_factory.mktemp("bin")
    subprocess.run(["make", "--silent", "-C", BENCH / "c", f"BIN={programs}", programs / "imapgen"], check=True)
    return programs / "imapgen"
