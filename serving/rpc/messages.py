"""Messages as they came, and read: within limits of fields and texts that are looked at before anything is made of them.

gRPC would have each read before anybody was asked for a key, and protobuf makes an object of every field, in one step in
which nobody else's Python runs: of 20 MB of empty fields that took 18 seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any, TypeVar

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message

from serving.service.errors import ErrorCode, ServiceError
from serving.service.off_loop import off_loop

MAX_FIELDS = 20_000
"""Of a message and all within it."""

LONGEST_CHARACTER = 4
"""Bytes of UTF-8."""

ANY_TEXT = 4096
"""Bytes that a text may always have: it may be a name."""

ON_LOOP_BYTES = 2048
"""What is read within a millisecond; handing it to a thread would take as long."""

LONGEST_VARINT = 10


class WireType(IntEnum):
    """What a tag says of how its field's value is written; groups are not in proto3."""

    VARINT = 0
    FIXED64 = 1
    DELIMITED = 2
    FIXED32 = 5


M = TypeVar("M", bound=Message)


@dataclass(frozen=True)
class Unread:
    """A message's bytes."""

    content: bytes


class _Malformed(ValueError):
    """Bytes that are no message."""


async def read_message(kind: type[M], unread: Unread, most_characters: int) -> M:
    """The message. Raises ServiceError (bad_parameter, too_long)."""
    if len(unread.content) <= ON_LOOP_BYTES:
        return _read(kind, unread.content, most_characters)
    return await off_loop(lambda: _read(kind, unread.content, most_characters))


def _read(kind: type[M], content: bytes, most_characters: int) -> M:
    try:
        _Fields(content, most_characters).look_at(0, len(content), kind.DESCRIPTOR)
        return kind.FromString(content)
    except (DecodeError, _Malformed):
        message = "the message cannot be read: it is not what the .proto says"
        raise ServiceError(ErrorCode.BAD_PARAMETER, message) from None


class _Fields:
    """Goes through a message's fields by their tags and lengths."""

    def __init__(self, content: bytes, most_characters: int) -> None:
        self._content = content
        self._most_characters = most_characters
        self._most_bytes = max(LONGEST_CHARACTER * most_characters, ANY_TEXT)
        self._count = 0

    def look_at(self, at: int, end: int, kind: Any) -> None:
        """Those of one message, from byte to byte, by its descriptor. Raises ServiceError, _Malformed."""
        fields = kind.fields_by_number
        while at < end:
            self._count += 1
            if self._count > MAX_FIELDS:
                raise ServiceError(ErrorCode.BAD_PARAMETER, f"the message has more than {MAX_FIELDS} fields")
            tag, at = self._varint(at)
            match tag & 7:
                case WireType.VARINT:
                    _, at = self._varint(at)
                case WireType.FIXED64:
                    at += 8
                case WireType.FIXED32:
                    at += 4
                case WireType.DELIMITED:
                    length, at = self._varint(at)
                    if at + length > end:
                        raise _Malformed
                    field = fields.get(tag >> 3)
                    if field is not None and field.type == FieldDescriptor.TYPE_MESSAGE:
                        self.look_at(at, at + length, field.message_type)
                    elif length > self._most_bytes:
                        message = f"a text has more than the {self._most_characters} characters that are accepted: split it"
                        raise ServiceError(ErrorCode.TOO_LONG, message)
                    at += length
                case _:
                    raise _Malformed
        if at > end:
            raise _Malformed

    def _varint(self, at: int) -> tuple[int, int]:
        """A number, and where it ends."""
        value = 0
        for place, byte in enumerate(self._content[at : at + LONGEST_VARINT]):
            value |= (byte & 0x7F) << (7 * place)
            if byte < 0x80:
                return value, at + place + 1
        raise _Malformed
