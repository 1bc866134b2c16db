from __future__ import annotations

import pytest

from tests.k8s.manifests import OVERLAYS, ROOTS, Manifest, manifests


@pytest.fixture(params=ROOTS)
def rendered(request: pytest.FixtureRequest) -> list[Manifest]:
    """Each folder that is applied by itself."""
    return manifests(request.param)


@pytest.fixture(params=OVERLAYS)
def overlay(request: pytest.FixtureRequest) -> list[Manifest]:
    """Each overlay of the serving application."""
    return manifests(request.param)
