"""A file of packed weights: written whole, checked before it is trusted, mapped read only so that processes share its pages.

    magic, version, key, bytes of weights, a checksum of each chunk of them, a checksum of all this; padded to whole pages
    the weights (packed_layout.py)

Checksums find what a disk or an accident did; who may write to the folder is packed_folder.py's concern.
"""

from __future__ import annotations

import mmap
import os
import stat
import struct
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

from serving.engine.native.packed_weights import Memory

VERSION = 1
"""Of the file and of how weights lie in it; another one is another file."""

_MAGIC = b"dqbart packed\0\0\0"
_START = struct.Struct("<16sI32sQ")
_CHECKSUM = struct.Struct("<I")
_CHUNK = 1 << 22
_PAGE = 4096
OTHERS_MAY_WRITE = stat.S_IWGRP | stat.S_IWOTH


class UntrustedFile(ValueError):
    """A file that is not read; the message says why."""


def first_byte(size: int) -> int:
    """Of the weights, in a file of so many bytes of them."""
    header = _START.size + _CHECKSUM.size * (_chunks(size) + 1)
    return -(-header // _PAGE) * _PAGE


def check_owner(found: os.stat_result) -> None:
    """Raises UntrustedFile where somebody but this user, and root, could have written it."""
    if found.st_uid not in (0, os.geteuid()):
        raise UntrustedFile(f"it belongs to user {found.st_uid}, not to {os.geteuid()}, who serves")
    if found.st_mode & OTHERS_MAY_WRITE:
        raise UntrustedFile(f"others than its owner may write to it (mode {stat.S_IMODE(found.st_mode):o})")


def open_packed(path: Path, key: bytes, size: int, *, checksums: bool = True) -> Memory:
    """The weights of a file that is there, mapped. `checksums` reads them all, which also brings them into memory.

    Raises UntrustedFile, and OSError where it cannot be read (FileNotFoundError: there is none).
    """
    # A pipe would be waited for.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise UntrustedFile("it is no file")
        check_owner(found)
        first = first_byte(size)
        if found.st_size != first + size:
            raise UntrustedFile(f"it has {found.st_size} bytes, {first + size} are expected")
        mapped = mmap.mmap(descriptor, found.st_size, mmap.MAP_SHARED, mmap.PROT_READ)
        if mapped[: _START.size] != _START.pack(_MAGIC, VERSION, key, size):
            raise UntrustedFile("it is of another model or version")
        end = first_byte_of_checks(size)
        if _CHECKSUM.pack(zlib.crc32(mapped[:end])) != mapped[end : end + _CHECKSUM.size]:
            raise UntrustedFile("its start was altered")
        if checksums and _checksums(memoryview(mapped)[first:]) != mapped[_START.size : end]:
            raise UntrustedFile("its weights were altered")
        _mark_used(descriptor)
        return Memory(mapped, first)
    finally:
        os.close(descriptor)


def write_packed(descriptor: int, key: bytes, size: int, fill: Callable[[Memory], None]) -> None:
    """Write a whole file to an open one, and to the disk; `fill` packs the weights.

    Raises OSError, for want of room before anything is packed.
    """
    first = first_byte(size)
    # Through a mapping, a disk without room would end the process instead.
    os.posix_fallocate(descriptor, 0, first + size)
    mapped = mmap.mmap(descriptor, first + size, mmap.MAP_SHARED)
    fill(Memory(mapped, first))
    end = first_byte_of_checks(size)
    mapped[:end] = _START.pack(_MAGIC, VERSION, key, size) + _checksums(memoryview(mapped)[first:])
    mapped[end : end + _CHECKSUM.size] = _CHECKSUM.pack(zlib.crc32(mapped[:end]))
    os.fsync(descriptor)


def first_byte_of_checks(size: int) -> int:
    """Where the start's own checksum is."""
    return _START.size + _CHECKSUM.size * _chunks(size)


def _chunks(size: int) -> int:
    return -(-size // _CHUNK)


def _checksums(weights: memoryview) -> bytes:
    def of(begin: int) -> bytes:
        return _CHECKSUM.pack(zlib.crc32(weights[begin : begin + _CHUNK]))

    with ThreadPoolExecutor(torch.get_num_threads(), "dqbart-checking") as threads:
        return b"".join(threads.map(of, range(0, len(weights), _CHUNK)))


def _mark_used(descriptor: int) -> None:
    """So that files that nobody uses can be told from others."""
    try:
        os.utime(descriptor)
    except OSError:
        return  # a folder that is read only: nobody cleans it either
