"""The folder of packed weights: found or made, not shared with strangers, and kept from growing without end.

    KEY-INSTRUCTIONS-VERSION.packed     weights, by the digest of the artifact and of their layout
    STATE.known                         the digest of a file in that state, so that it need not be read again for that
    NAME.lock, NAME.*.partial           who is making a file, and what of it there is

Where there is no folder that can be used, models are packed into memory instead, and that is said once.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from quant.stored_tensors import OpenFile
from serving.engine.native.library import kernels
from serving.engine.native.packed_file import VERSION, UntrustedFile, check_owner, open_packed, write_packed
from serving.engine.native.packed_weights import Memory

KEPT_DAYS = 30
"""Of a file that nobody has opened."""
OTHERS_KEPT_DAYS = 1
"""Of one of another version, or that was never finished."""
MOST_BYTES = 64 << 30
"""Of all files; those whose last use is the longest ago go first."""
SETTLED_SECONDS = 2.0
"""A file may be written once more within the grain of its times; that of FAT is the coarsest."""

_DAY = 24 * 3600
_DIGEST = re.compile(r"[0-9a-f]{64}")
_OURS = re.compile(rf"{_DIGEST.pattern}(-\w+-\d+\.packed(\.lock|\.\w+\.partial)?|\.known|\.\w+\.partial)")
"""Names of what is made here: a folder that somebody names may hold other things."""
_LOG = logging.getLogger(__name__)


class PackedFolder:
    """One folder."""

    def __init__(self, path: Path) -> None:
        """Makes it, for this user alone, unless it is there. Raises UntrustedFile, OSError."""
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        check_owner(path.stat())
        self.path = path

    def digest(self, path: Path, file: OpenFile) -> str:
        """sha256 of the artifact's file `path`, read only where its state is not known. Raises ArtifactError."""
        state = file.state()
        name = hashlib.sha256(repr((str(path.resolve()), *state)).encode()).hexdigest()
        known = self.path / f"{name}.known"
        with suppress(OSError, UntrustedFile, UnicodeDecodeError):
            check_owner(known.lstat())
            if _DIGEST.fullmatch(digest := known.read_text("ascii")):
                os.utime(known)
                return digest
        digest = file.digest()
        if time.time() - max(state[2:]) / 1e9 > SETTLED_SECONDS:
            with suppress(OSError), self._partial(name) as (descriptor, partial):
                os.write(descriptor, digest.encode())
                os.replace(partial, known)
        return digest

    def has(self, key: bytes, size: int) -> bool:
        """Whether there is a file with these weights, by its start."""
        return self._open(key, size, checksums=False) is not None

    def weights(self, key: bytes, size: int, fill: Callable[[Memory], None]) -> Memory:
        """The mapped weights, packed by `fill` unless they are there. Raises OSError, and what `fill` does."""
        if (memory := self._open(key, size)) is not None:
            return memory
        name = self._name(key)
        with self._locked(name) as alone:
            # Who held the lock has made it.
            if (memory := self._open(key, size)) is not None:
                return memory
            if alone:
                self._remove_partial(name)
            self.clean()
            with self._partial(name) as (descriptor, partial):
                write_packed(descriptor, key, size, fill)
                os.replace(partial, self.path / name)
                _flush(self.path)
        return open_packed(self.path / name, key, size, checksums=False)

    def clean(self) -> None:
        """Remove what nobody uses, and what is too much."""
        now, packed = time.time(), list[tuple[float, int, Path]]()
        for path in self.path.iterdir():
            if not _OURS.fullmatch(path.name):
                continue
            with suppress(OSError):
                found = path.lstat()
                unused = now - found.st_mtime
                current = path.name.endswith((f"-{VERSION}.packed", ".known", ".lock"))
                if unused > _DAY * (KEPT_DAYS if current else OTHERS_KEPT_DAYS):
                    path.unlink()
                elif path.suffix == ".packed":
                    packed.append((found.st_mtime, found.st_size, path))
        total = sum(size for _, size, _ in packed)
        for _, size, path in sorted(packed):
            if total <= MOST_BYTES:
                break
            with suppress(OSError):
                path.unlink()  # those who have it mapped keep it
            total -= size

    def _open(self, key: bytes, size: int, *, checksums: bool = True) -> Memory | None:
        path = self.path / self._name(key)
        try:
            return open_packed(path, key, size, checksums=checksums)
        except FileNotFoundError:
            return None
        except (UntrustedFile, OSError) as fault:
            _LOG.warning("%s is not used, and made anew: %s", path, fault)
            with suppress(OSError):
                path.unlink()
            return None

    def _name(self, key: bytes) -> str:
        return f"{key.hex()}-{kernels().instruction_set}-{VERSION}.packed"

    @contextmanager
    def _locked(self, name: str) -> Iterator[bool]:
        """Whether nobody else makes the file of that name meanwhile; where files cannot be locked, two may, each whole."""
        descriptor = os.open(self.path / f"{name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            alone = False
            with suppress(OSError):
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                alone = True
            yield alone
        finally:
            os.close(descriptor)

    def _remove_partial(self, name: str) -> None:
        """Of those who were killed while they made the file of that name: who is killed again and again fills no disk."""
        for path in self.path.glob(f"{name}.*.partial"):
            with suppress(OSError):
                path.unlink()

    @contextmanager
    def _partial(self, name: str) -> Iterator[tuple[int, Path]]:
        """An open file that is removed unless it was renamed."""
        descriptor, path = tempfile.mkstemp(prefix=f"{name}.", suffix=".partial", dir=self.path)
        try:
            yield descriptor, Path(path)
        finally:
            os.close(descriptor)
            Path(path).unlink(missing_ok=True)


@cache
def packed_folder(setting: str) -> PackedFolder | None:
    """The folder of EngineSettings.packed_folder; None where it is `none`, or cannot be used, which is said once."""
    if setting == "none":
        return None
    faults = []
    for path in [Path(setting)] if setting != "auto" else default_folders():
        try:
            folder = PackedFolder(path)
            # One that is named may be full of what was packed elsewhere.
            if setting == "auto" and not os.access(path, os.W_OK):
                raise UntrustedFile("it cannot be written to")
            return folder
        except (OSError, UntrustedFile) as fault:
            faults.append(f"{path}: {fault}")
    say_once(f"packed weights are not kept: {'; '.join(faults)}")
    return None


@cache
def say_once(message: str) -> None:
    """Of a folder that is no use: models are loaded all the same."""
    _LOG.warning("%s; each process packs and holds weights of its own", message)


def default_folders() -> list[Path]:
    """In order of preference: a container may have no home, or none that can be written to."""
    folders = []
    with suppress(RuntimeError):
        folders.append(Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dqbart")
    return [*folders, Path(tempfile.gettempdir()) / f"dqbart-{os.geteuid()}"]


def _flush(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
