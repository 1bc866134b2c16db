"""What every test shares: property tests fail for a wrong value, never for a slow machine; and a worker of its own core."""

import os

import pytest
from hypothesis import settings

settings.register_profile("dqbart", deadline=None)
settings.load_profile("dqbart")

# Tiny products are slower on several threads, and the other cores are for other workers. Said before torch is imported, and
# to the processes that tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With several workers, tests of a file stay together, for they share fixtures.

    So do the files that start servers, one after another, and at last those that share one: what takes longest comes first.
    """
    files: dict[pytest.Item, object] = {item: item.getparent(pytest.Module) for item in items}
    sharing = {files[item] for item in items if "shared_server" in getattr(item, "fixturenames", ())}
    starting = {file for file in files.values() if isinstance(file, pytest.Module) and hasattr(file.obj, "start_server")}
    for item, file in files.items():
        name = "servers" if file in starting | sharing else item.nodeid.partition("::")[0]
        item.add_marker(pytest.mark.xdist_group(name))
    items.sort(key=lambda item: (files[item] not in starting | sharing, files[item] in sharing))
