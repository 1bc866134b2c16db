"""Prints the version of everything that the images install, as it is installed here: docker/constraints.txt.

    .venv/bin/python docker/constraints.py > docker/constraints.txt

pyproject.toml pins what the project names; this pins what those bring with them, so that an image built next year has the
same. Packages of CUDA are left out: each torch names its own.
"""

from __future__ import annotations

import tomllib
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

EXTRAS = ("compress", "batch", "gpu", "tracing")


def main() -> None:
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    wanted = [Requirement(each) for each in project["dependencies"]]
    wanted += [Requirement(each) for extra in EXTRAS for each in project["optional-dependencies"][extra]]
    pins: dict[str, str] = {}
    seen: set[tuple[str, str]] = set()
    while wanted:
        requirement = wanted.pop()
        name = canonicalize_name(requirement.name)
        try:
            pins[name] = version(name).partition("+")[0]
        except PackageNotFoundError:
            # One that pyproject.toml pins, and that not everybody installs.
            pins[name] = str(requirement.specifier).removeprefix("==")
            continue
        for extra in {"", *requirement.extras} - {extra for each, extra in seen if each == name}:
            seen.add((name, extra))
            brought = [Requirement(each) for each in requires(name) or ()]
            wanted += [each for each in brought if each.marker is None or each.marker.evaluate({"extra": extra})]
    print("# Made by constraints.py, which says what it is for.")
    for name in sorted(pins):
        print(f"{name}=={pins[name]}")


if __name__ == "__main__":
    main()
