"""The one lab of a test run: started when the first test asks for it, ended after the last."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lab.lab import Lab


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Without root, openvpn or sshd this fails, and so does every test that asks for it: a lab is never skipped."""
    with Lab(tmp_path_factory.mktemp("lab")) as started:
        yield started
