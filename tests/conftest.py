"""What every test may ask for."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings
from pki import Pki

# A busy machine is no error. In CI the examples are the same in each run; elsewhere each run tries others.
settings.register_profile("patient", deadline=None, derandomize=os.environ.get("CI") == "true")
settings.load_profile("patient")


@pytest.fixture(scope="session")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    """An authority and a certificate for localhost, made once for the run."""
    return Pki.make(tmp_path_factory.mktemp("pki"))
