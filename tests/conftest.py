"""What every test may ask for."""

from __future__ import annotations

import pytest
from pki import Pki


@pytest.fixture(scope="session")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    """An authority and a certificate for localhost, made once for the run."""
    return Pki.make(tmp_path_factory.mktemp("pki"))
