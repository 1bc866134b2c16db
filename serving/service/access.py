"""API keys: who may ask, known by the SHA-256 of a random key.

A key has 256 bits of chance, so that its hash needs neither salt nor slowness: nobody can guess what to hash. A key is
compared with all of them in constant time. What is kept and shown is the name.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice

from serving.service.errors import ErrorCode, ServiceError

KEY_PREFIX = "dqb_"
"""By which people, and scanners of what was published by mistake, know a key when they see one."""

KEY = re.compile(KEY_PREFIX.encode() + rb"[A-Za-z0-9_-]{43}(?![A-Za-z0-9_-])")
MOST_FOUND = 4
"""Keys in one place that are looked at."""

NO_KEY = "an API key is required: send `Authorization: Bearer KEY`"

LINE = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]{0,63}):([0-9a-fA-F]{64})")


@dataclass(frozen=True)
class ApiKey:
    """A key as the server knows it."""

    name: str
    digest: bytes

    @classmethod
    def parse(cls, line: str) -> ApiKey:
        """Read NAME:HASH. Raises ValueError, whose message does not repeat the line: it may be a key itself."""
        match = LINE.fullmatch(line.strip())
        if match is None:
            raise ValueError(
                "NAME:HASH is expected: a name of letters, digits, '.', '_' and '-', and the 64 hexadecimal digits that "
                "`dqbart key NAME` prints, not the key itself"
            )
        return cls(match[1], bytes.fromhex(match[2]))

    def line(self) -> str:
        """As the settings have it."""
        return f"{self.name}:{self.digest.hex()}"


def make_key(name: str) -> tuple[str, ApiKey]:
    """A new key, and what the server is to know of it."""
    key = KEY_PREFIX + secrets.token_urlsafe(32)
    return key, ApiKey(name, _digest(key))


def read_keys(lines: Iterable[str]) -> list[ApiKey]:
    """Keys from lines of NAME:HASH; empty ones and comments (#) are passed over. Raises ValueError naming the line."""
    keys: list[ApiKey] = []
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        try:
            key = ApiKey.parse(line)
        except ValueError as error:
            raise ValueError(f"entry {number}: {error}") from None
        if any(key.name == other.name for other in keys):
            raise ValueError(f"entry {number}: the name {key.name} is given twice")
        keys.append(key)
    return keys


class Access:
    """Says whose key it is. Without any key, everybody may ask."""

    def __init__(self, keys: Iterable[ApiKey] = ()) -> None:
        self._keys = tuple(keys)

    @property
    def restricted(self) -> bool:
        return bool(self._keys)

    def name_of(self, key: str | None) -> str | None:
        """The name of a request's key; None where no keys are asked for. Raises ServiceError (unauthenticated)."""
        if not self._keys:
            return None
        if not key:
            raise ServiceError(ErrorCode.UNAUTHENTICATED, NO_KEY)
        digest = _digest(key)
        # Every key is compared, so that the time tells nothing of which one it is.
        names = [known.name for known in self._keys if hmac.compare_digest(known.digest, digest)]
        if not names:
            raise ServiceError(ErrorCode.UNAUTHENTICATED, "the API key is not known to this server")
        return names[0]

    def name_in(self, *contents: bytes) -> str:
        """The name of the first known key that stands anywhere in what was sent. Raises ServiceError (unauthenticated).

        Keys have no letters that forms or JSON would spell otherwise, so that nothing has to be understood to find them.
        """
        for content in contents:
            for found in islice(KEY.finditer(content), MOST_FOUND):
                with suppress(ServiceError):
                    if name := self.name_of(found[0].decode()):
                        return name
        raise ServiceError(ErrorCode.UNAUTHENTICATED, NO_KEY)


def bearer(authorization: str | None) -> str | None:
    """The key of an Authorization header, where it has one."""
    scheme, _, key = (authorization or "").partition(" ")
    return key.strip() or None if scheme.lower() == "bearer" else None


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode(errors="surrogateescape")).digest()
