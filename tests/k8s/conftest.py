from __future__ import annotations

import os

import pytest

from tests.k8s.manifests import OVERLAYS, ROOTS, Manifest, kustomize_command, manifests

MISSING = "neither kustomize nor kubectl is in the PATH: the manifests cannot be rendered"


@pytest.fixture(scope="session", autouse=True)
def _kustomize() -> None:
    if kustomize_command() is None:
        # make k8s-test must not pass by testing nothing.
        pytest.fail(MISSING) if os.environ.get("K8S_TEST") else pytest.skip(MISSING)


@pytest.fixture(params=ROOTS)
def rendered(request: pytest.FixtureRequest, _kustomize: None) -> list[Manifest]:
    """Each folder that is applied by itself."""
    return manifests(request.param)


@pytest.fixture(params=OVERLAYS)
def overlay(request: pytest.FixtureRequest, _kustomize: None) -> list[Manifest]:
    """Each overlay of the serving application."""
    return manifests(request.param)
