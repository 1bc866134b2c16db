from __future__ import annotations

import os

import pytest

from tests.image import podman


@pytest.fixture(scope="session")
def image() -> str:
    """The serving image, with a model inside, built from the tree as it is."""
    if not os.environ.get("IMAGE_TEST"):
        pytest.skip("an image takes minutes to build: make image-test")
    if reason := podman.reason_against():
        pytest.fail(reason)
    if built := os.environ.get("IMAGE"):
        return built
    podman.build("localhost/dqbart:test", "--build-arg", "MODELS=mbart-de-en-2-4-8")
    return "localhost/dqbart:test"


@pytest.fixture(scope="session")
def compress_image(image: str) -> str:
    """The image that makes artifacts."""
    if built := os.environ.get("COMPRESS_IMAGE"):
        return built
    podman.build("localhost/dqbart-compress:test", "--target", "compress")
    return "localhost/dqbart-compress:test"
