"""Reads artifacts that were made to do harm, in a process that gets little memory; run by test_strange_artifacts.py.

python strange_artifacts.py FOLDER     the folder has a whole artifact, and is scratch
"""

from __future__ import annotations

import json
import resource
import struct
import sys
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from serving.service.models import ModelError, check_model

BOUND = 1 << 30
"""Bytes of address space beyond what imports take."""

FOLDER = Path(sys.argv[1])
WHOLE = {path.name: path.read_bytes() for path in FOLDER.iterdir()}
JSON_FILES = ("config.json", "generation_config.json", "evaluation.json", "tokenizer.json")
LARGE = [2**16, 2**24, 2**24 + 1, 2**31, 2**53, 2**63, 2**64, 10**400, -1, 0, 1]

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(LARGE) | st.floats() | st.text() | st.just("\ud800"),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)


def check() -> None:
    """Fit to serve or a ModelError with a message; whatever else is raised ends this process."""
    try:
        check_model("strange", FOLDER, 64)
    except ModelError as error:
        if not 0 < len(str(error)) < 2_000_000:
            raise RuntimeError("a message is empty or endless") from error


def restore() -> None:
    for name, content in WHOLE.items():
        (FOLDER / name).write_bytes(content)


def dumped(value: Any) -> bytes:
    return json.dumps(value).encode()


def with_header(header: bytes, data: bytes = b"") -> bytes:
    return struct.pack("<Q", len(header)) + header + data


def parts(content: bytes) -> tuple[dict[str, Any], bytes]:
    end = 8 + int.from_bytes(content[:8], "little")
    return json.loads(content[8:end]), content[end:]


@settings(max_examples=120, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.data())
def entries_changed(data: st.DataObject) -> None:
    """An entry of a JSON file, or of one within it, has any value."""
    restore()
    name = data.draw(st.sampled_from(JSON_FILES))
    content = json.loads(WHOLE[name])
    at = content
    while True:
        key = data.draw(st.sampled_from(sorted(at)))
        if isinstance(at[key], dict) and at[key] and data.draw(st.booleans()):
            at = at[key]
            continue
        at[key] = data.draw(VALUES)
        break
    (FOLDER / name).write_bytes(dumped(content))
    check()


@settings(max_examples=80, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.data())
def headers_changed(data: st.DataObject) -> None:
    """An entry of the weights' table, or of the header in it, has any value."""
    restore()
    header, tensors = parts(WHOLE["model.safetensors"])
    name = data.draw(st.sampled_from(sorted(header)))
    key = data.draw(st.sampled_from(sorted(header[name])))
    sizes = st.lists(st.sampled_from(LARGE), max_size=3)
    header[name][key] = data.draw(VALUES | sizes | st.text() | st.text().map(lambda text: f'{{"{text}": 1}}'))
    (FOLDER / "model.safetensors").write_bytes(with_header(dumped(header), tensors))
    check()


def claims() -> None:
    """Sizes that are claimed, with and without holes in the file for them."""
    for sizes in ({"vocab_size": 2**24, "d_model": 2**24}, {"encoder_layers": 256, "decoder_ffn_dim": 2**24}):
        restore()
        (FOLDER / "config.json").write_bytes(dumped({**json.loads(WHOLE["config.json"]), **sizes}))
        check()
        with (FOLDER / "model.safetensors").open("ab") as file:
            file.truncate(2**42)
        check()
    restore()
    # One that agrees in all: terabytes of zeros, which take no room on the disk.
    config = {**json.loads(WHOLE["config.json"]), "vocab_size": 2**24, "d_model": 2**18}
    header, tensors = parts(WHOLE["model.safetensors"])
    (FOLDER / "config.json").write_bytes(dumped(config))
    for name, size in (("model.shared.weight.codes", 2**42),):
        header[name] |= {"shape": [size], "data_offsets": [0, size]}
    (FOLDER / "model.safetensors").write_bytes(with_header(dumped(header), tensors))
    with (FOLDER / "model.safetensors").open("ab") as file:
        file.truncate(2**43)
    check()
    # And tables of very many tensors, of names that occur twice, and of absurd depth.
    empty = {f"n{number}": {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]} for number in range(600_000)}
    for table in (dumped(empty), b'{"a": 1, "a": 2}', b'{"__metadata__": ' + b"[" * 10**6, b'{"a":"' + b"x" * 10**8 + b'"}'):
        restore()
        (FOLDER / "model.safetensors").write_bytes(with_header(table))
        check()
    for name in JSON_FILES:
        for content in (b"[" * 2**20, b"[[]" + b",[]" * (2**18) + b"]", b"9" * 2**20, b" " * 2**25):
            restore()
            (FOLDER / name).write_bytes(content)
            check()


if __name__ == "__main__":
    check()
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + BOUND, used + BOUND))
    claims()
    entries_changed()
    headers_changed()
    print("all were read or refused")
