"""The size that is foretold is the size of the file."""

from pathlib import Path

import pytest
import torch

from quant.artifact import WEIGHTS_FILE
from quant.file_size import file_bytes
from quant.layout import Architecture, blocks, model_layout
from quant.scheme import Scheme
from quant.structure import UNIFORM, Structure

from .conftest import Model

STRUCTURES = {
    "uniform": UNIFORM,
    "one block": Structure(block_bits={"encoder.layers.1.feed_forward": 8}),
    "heads": Structure(heads={"encoder.layers.0.self_attn": 2, "decoder.layers.0.encoder_attn": 1}),
    "both": Structure(block_bits={"decoder.layers.0.encoder_attn": 4}, heads={"decoder.layers.0.encoder_attn": 1}),
}


@pytest.mark.parametrize("scheme", ["2-2-8", "8-4-8/matrix", "4-8-16"])
@pytest.mark.parametrize("name", STRUCTURES)
def test_it_is_exact(model: Model, tmp_path: Path, scheme: str, name: str) -> None:
    structure = STRUCTURES[name]
    architecture = Architecture.from_config(model.config)
    weights = {
        tensor.name: torch.ones(tensor.shape) for tensor in model_layout(architecture, Scheme.parse(scheme), structure)
    }
    model.write(tmp_path, scheme, weights=weights, structure=structure)
    assert file_bytes(architecture, Scheme.parse(scheme), structure) == (tmp_path / WEIGHTS_FILE).stat().st_size


def test_every_block_named_is_counted_in_the_header(model: Model) -> None:
    """Naming bits that a block has anyway adds nothing but its entry in the header."""
    architecture, scheme = Architecture.from_config(model.config), Scheme.parse("2-2-8")
    named = Structure(block_bits=dict.fromkeys(blocks(architecture), 2))
    assert file_bytes(architecture, scheme, named) > file_bytes(architecture, scheme)
