"""Prints what pyproject.toml requires, a line each, with the extras that are named as arguments.

The image installs these before it copies the sources, so that a change of the sources does not install them again.
"""

import sys
import tomllib

with open("pyproject.toml", "rb") as file:
    project = tomllib.load(file)["project"]
extras = [each for extra in sys.argv[1:] for each in project["optional-dependencies"][extra]]
print(*project["dependencies"], *extras, sep="\n")
