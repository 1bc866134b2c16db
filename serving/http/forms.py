"""Bodies of forms, field by field: between two of them, and at each escape, others come to their turn.

`urllib` takes a second for half a megabyte of signs that are no escapes, and 35 for a body of 20.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from serving.http.strict_json import ANY_TEXT, LONGEST_SPELLING, TextTooLong
from serving.service.off_loop import off_loop

_ESCAPE = re.compile(rb"%([0-9a-fA-F]{2})")
_BYTES = {b"%02x" % byte: bytes([byte]) for byte in range(256)}


async def read_form(body: bytes, most_fields: int, most_characters: int) -> Mapping[str, str | list[str]]:
    """Fields of a form-encoded body; of a name that is given several times, all its texts.

    Raises TextTooLong for one that has certainly more than `most_characters`, ValueError for what is no such form.
    """
    # Four bytes of UTF-8 take as many as escapes as two escapes of JSON do.
    most_bytes = max(LONGEST_SPELLING * most_characters, ANY_TEXT)
    parts = body.split(b"&", most_fields)
    if len(parts) > most_fields:
        raise ValueError(f"more than {most_fields} fields")
    found: dict[str, list[str]] = {}
    for part in parts:
        if not part:
            continue
        name, _, value = part.partition(b"=")
        if max(len(name), len(value)) > most_bytes:
            raise TextTooLong
        named, text = await off_loop(lambda name=name, value=value: (_decoded(name), _decoded(value)))  # type: ignore[misc]
        found.setdefault(named, []).append(text)
    return {name: texts[0] if len(texts) == 1 else texts for name, texts in found.items()}


def _decoded(spelt: bytes) -> str:
    return _ESCAPE.sub(lambda escape: _BYTES[escape[1].lower()], spelt.replace(b"+", b" ")).decode()
