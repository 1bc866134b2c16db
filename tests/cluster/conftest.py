from __future__ import annotations

import os

import pytest

from tests.cluster.nodes import Network, reason_against


@pytest.fixture(scope="session")
def network() -> Network:
    """What machines can be plugged into."""
    if not os.environ.get("CLUSTER_TEST"):
        pytest.skip("a cluster takes minutes: make cluster-test")
    if reason := reason_against():
        pytest.fail(reason)
    return Network()
