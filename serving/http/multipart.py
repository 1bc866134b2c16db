"""Bodies of forms in parts (multipart/form-data), in steps between which others come to their turn."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header

from serving.http.strict_json import ANY_TEXT, TextTooLong
from serving.service.off_loop import off_loop

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

STEP = 64 * 1024
"""Bytes that are looked at in one step."""

MOST_BYTES_OF_A_CHARACTER = 4
"""In UTF-8."""

# It warns of each form that is none, with bytes of it: the client is told, and logs have nothing of what clients send.
logging.getLogger(MultipartParser.__module__).setLevel(logging.CRITICAL)


async def read_multipart(
    body: bytes, content_type: str, most_fields: int, most_characters: int
) -> Mapping[str, str | list[str]]:
    """Fields of a body in parts; of a name that is given several times, all its texts.

    Raises TextTooLong for one that has certainly more than `most_characters`, ValueError for what is no such form, and for
    files.
    """
    _, options = parse_options_header(content_type)
    reader = _Reader(most_fields, max(MOST_BYTES_OF_A_CHARACTER * most_characters, ANY_TEXT))
    try:
        parser = MultipartParser(options.get(b"boundary", b""), reader.callbacks())
        for start in range(0, len(body), STEP):
            part = body[start : start + STEP]
            await off_loop(lambda part=part: parser.write(part))  # type: ignore[misc]
            if reader.complete:
                break
    except MultipartParseError as fault:
        raise ValueError(str(fault)) from fault
    if not reader.complete:
        raise ValueError("the form has no end")
    return {name: texts[0] if len(texts) == 1 else texts for name, texts in reader.fields.items()}


class _Reader:
    """What the parser calls."""

    def __init__(self, most_fields: int, most_bytes: int) -> None:
        self.fields: dict[str, list[str]] = {}
        self.complete = False
        self._most_fields = most_fields
        self._most_bytes = most_bytes
        self._count = 0
        self._header = [b"", b""]
        self._disposition = b""
        self._text = bytearray()

    def callbacks(self) -> MultipartCallbacks:
        return {
            "on_part_begin": self._begin,
            "on_header_field": lambda data, start, end: self._add_header(0, data[start:end]),
            "on_header_value": lambda data, start, end: self._add_header(1, data[start:end]),
            "on_header_end": self._end_header,
            "on_part_data": lambda data, start, end: self._add_text(data[start:end]),
            "on_part_end": self._end,
            "on_end": self._finish,
        }

    def _begin(self) -> None:
        self._count += 1
        if self._count > self._most_fields:
            raise ValueError(f"more than {self._most_fields} fields")
        self._disposition = b""
        self._text.clear()

    def _add_header(self, side: int, part: bytes) -> None:
        self._header[side] += part

    def _end_header(self) -> None:
        if self._header[0].strip().lower() == b"content-disposition":
            self._disposition = self._header[1]
        self._header = [b"", b""]

    def _add_text(self, part: bytes) -> None:
        if len(self._text) + len(part) > self._most_bytes:
            raise TextTooLong
        self._text += part

    def _end(self) -> None:
        _, options = parse_options_header(self._disposition)
        if b"name" not in options or b"filename" in options:
            raise ValueError("a part has no name, or is a file")
        self.fields.setdefault(options[b"name"].decode(), []).append(self._text.decode())

    def _finish(self) -> None:
        self.complete = True
