"""Builds and runs images without a Docker engine: buildah and podman, for root, without daemons.

What belongs to a machine comes from the environment, and not from here:

IMAGE_BASE        the base image, pulled if it is not there; without it one is made of Debian's packages by debootstrap
IMAGE, COMPRESS_IMAGE  images to be tested that are built already, by whatever built them
IMAGE_BUILD_ARGS  further arguments of `buildah bud`: --build-arg TORCH_INDEX=…, --secret id=pip.conf,src=…, --volume …
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("buildah", "podman", "runc", "crun", "catatonit", "debootstrap")
TOOLS = ("buildah", "podman", "runc", "debootstrap")
STAND_IN = "localhost/dqbart-base:bookworm"
STORAGE = ("--storage-driver", "overlay")
PODMAN = ("podman", *STORAGE, "--runtime", "runc", "--cgroup-manager=cgroupfs", "--events-backend=none")
BUILDAH = ("buildah", *STORAGE)
HARDENED = (
    *("--read-only", "--cap-drop=all", "--security-opt=no-new-privileges", "--network=none", "--shm-size=256m"),
    # Podman's own are above what a machine without systemd may give.
    *("--ulimit", "nofile=20000:20000", "--ulimit", "nproc=20000:20000"),
)
"""As the pods of k8s/ run, and without a network."""


def reason_against() -> str | None:
    """Why images cannot be built here, with what to do about it."""
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        packages = " ".join(PACKAGES)
        return f"there is no {', '.join(missing)}: apt-get install --no-install-recommends {packages}"
    if os.geteuid() != 0:
        return "images are built and run as root here: sudo make image-test"
    return None


def run(*command: str, timeout: float = 600) -> str:
    """Standard output of a command. Raises AssertionError with both outputs when it fails."""
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=timeout, check=False)
    assert result.returncode == 0, f"{shlex.join(command)}\n{result.stdout[-4000:]}\n{result.stderr[-4000:]}"
    return result.stdout


def build(tag: str, *arguments: str) -> None:
    """Build the Dockerfile, as it stands in the tree."""
    base = os.environ.get("IMAGE_BASE") or stand_in()
    own = shlex.split(os.environ.get("IMAGE_BUILD_ARGS", ""))
    pull = [] if os.environ.get("IMAGE_BASE") else ["--pull-never"]
    # Without Docker's format the health check would be lost.
    options = ["--format", "docker", "--layers", "--isolation", "chroot", "--build-arg", f"BASE_IMAGE={base}"]
    run(*BUILDAH, "bud", *options, *pull, *own, *arguments, "--tag", tag, ".", timeout=3600)


def stand_in() -> str:
    """A base of Debian's packages with what the Dockerfile expects of the official one; made once."""
    if run(*BUILDAH, "images", "--quiet", "--filter", f"reference={STAND_IN}").strip():
        return STAND_IN
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "root"
        packages = "--include=ca-certificates,python3,python3-pip,python3-venv"
        run("debootstrap", "--variant=minbase", packages, "bookworm", str(root), timeout=1800)
        (root / "usr/lib/python3.11/EXTERNALLY-MANAGED").unlink()
        for name, target in (("python", "python3"), ("pip", "pip3")):
            (root / "usr/local/bin" / name).symlink_to(f"/usr/bin/{target}")
        container = run(*BUILDAH, "from", "scratch").strip()
        run(*BUILDAH, "copy", container, str(root), "/")
        path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        run(*BUILDAH, "config", "--env", path, container)
        run(*BUILDAH, "commit", "--rm", container, STAND_IN)
    return STAND_IN


@contextmanager
def mounted(image: str) -> Iterator[Path]:
    """The image's file system."""
    folder = run(*PODMAN, "image", "mount", image).strip()
    try:
        yield Path(folder)
    finally:
        run(*PODMAN, "image", "unmount", image)


class Container:
    """One that runs in the background until it is stopped or removed."""

    def __init__(self, image: str, command: Sequence[str], *options: str) -> None:
        self.id = run(*PODMAN, "run", "--detach", "--pull=never", *HARDENED, *options, image, *command).strip()

    def python(self, code: str, *arguments: str) -> str:
        """What a program printed that ran in the container."""
        return run(*PODMAN, "exec", self.id, "python", "-c", code, *arguments)

    def run(self, *command: str) -> str:
        return run(*PODMAN, "exec", self.id, *command)

    def succeeds(self, *command: str) -> bool:
        return subprocess.run([*PODMAN, "exec", self.id, *command], capture_output=True, check=False).returncode == 0

    def is_running(self) -> bool:
        return run(*PODMAN, "inspect", "--format", "{{.State.Running}}", self.id).strip() == "true"

    def logs(self) -> str:
        result = subprocess.run([*PODMAN, "logs", self.id], capture_output=True, text=True, check=False)
        return result.stdout + result.stderr

    def stop(self, seconds: int) -> int:
        """Send SIGTERM, SIGKILL `seconds` later, and return the exit code."""
        run(*PODMAN, "stop", "--time", str(seconds), self.id)
        return int(run(*PODMAN, "inspect", "--format", "{{.State.ExitCode}}", self.id))

    def remove(self) -> None:
        run(*PODMAN, "rm", "--force", "--time", "0", self.id)
