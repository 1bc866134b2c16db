"""Tiny random students in stock `transformers` classes, and the engine over the same students packed."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from hypothesis import strategies as st
from transformers import BartConfig, BartForConditionalGeneration, MBartConfig, MBartForConditionalGeneration

from compress.model.embeddings import settle_embeddings
from compress.model.heads import resize_heads
from compress.model.quantized_modules import full_precision_weights, quantize_modules
from quant.artifact import Artifact, read_artifact, write_artifact
from quant.card import Card
from quant.layout import blocks
from quant.scheme import WEIGHT_BITS, Scheme
from quant.structure import UNIFORM, Structure
from serving.engine.cuda.runner import CudaRunner
from serving.engine.engine import Engine, Finished
from serving.engine.native.library import UnavailableError
from serving.engine.native.runner import NativeRunner
from serving.engine.pytorch.model import Model
from serving.engine.pytorch.runner import PyTorchRunner
from serving.engine.request import Request, Result
from serving.engine.runner import Runner
from serving.engine.threads import set_threads

CLASSES = {
    "bart": (BartConfig, BartForConditionalGeneration),
    "mbart": (MBartConfig, MBartForConditionalGeneration),
}
CARD = Card(
    task="summarization",
    source_template="{source}",
    passage_separator=None,
    normalization=(),
    source_prefix=(),
    source_suffix=(),
    decoder_start="</s>",
    forced_bos=None,
    directions=(),
    clean_up_tokenization_spaces=False,
    max_source_tokens=64,
    teacher="tiny",
    teacher_layers="2-2",
    teacher_bytes=1,
)


BuildRunner = Callable[[Artifact], Runner]


def build_native(artifact: Artifact) -> Runner:
    try:
        return NativeRunner(artifact)
    except UnavailableError as error:
        pytest.skip(f"no native kernels: {error}")


RUNNERS: dict[str, BuildRunner] = {
    "pytorch": lambda artifact: PyTorchRunner(Model(artifact)),
    "native": build_native,
    "cuda-on-cpu": lambda artifact: CudaRunner(artifact, max_rows=128, device="cpu"),
}
"""Every runner must pass the tests that take `build_runner`."""

Run = Callable[[Engine, Sequence[Request]], list[Result | Exception]]


class Student(NamedTuple):
    """One model twice: in stock classes with quantized modules, and packed."""

    stock: BartForConditionalGeneration | MBartForConditionalGeneration
    artifact: Artifact


class Variant(NamedTuple):
    """How a student differs from the plain one."""

    config: Mapping[str, Any]
    change: Callable[[Any], object] = lambda stock: None
    """Done to the stock model, in place."""


def _bias(stock: Any) -> None:
    stock.final_logits_bias.normal_(std=2.0)
    stock.final_logits_bias[0, 1] = -30.0  # `generate` fills up with <pad>, which is not to be told from a generated one


def _one_embedding(stock: Any) -> None:
    stock.model.decoder.embed_tokens.weight = stock.model.encoder.embed_tokens.weight


ODD_SIZES = {"d_model": 60, "encoder_ffn_dim": 37, "decoder_ffn_dim": 53}
VARIANTS = {
    "plain": Variant({}),
    "bias": Variant({}, _bias),
    "untied": Variant({"tie_word_embeddings": False}),
    "untied-head": Variant({"tie_word_embeddings": False}, _one_embedding),
    "untied-bias": Variant({"tie_word_embeddings": False}, _bias),
    "odd-sizes": Variant(ODD_SIZES),
    "odd-sizes-silu": Variant({**ODD_SIZES, "activation_function": "silu"}),
    "no-ids": Variant({"bos_token_id": None, "decoder_start_token_id": None}),
    **{name: Variant({"activation_function": name}) for name in ("gelu_new", "quick_gelu", "swish", "relu2")},
}
"""Of checkpoints that people have."""

BuildStudent = Callable[[str, str], Student]
BuildVariant = Callable[[str, str, str], Student]
BuildStructured = Callable[[str, str, Structure], Student]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny products are slower on several threads."""
    set_threads(1)
    yield
    set_threads(1)


@pytest.fixture(params=RUNNERS)
def build_runner(request: pytest.FixtureRequest) -> BuildRunner:
    """Artifact to a runner of each kind."""
    return RUNNERS[request.param]


@pytest.fixture(scope="session")
def run_all() -> Run:
    """Submit requests together, step until all have ended; their outcomes in order."""

    def run(engine: Engine, requests: Sequence[Request]) -> list[Result | Exception]:
        ids = [engine.submit(request) for request in requests]
        outcomes: dict[int, Result | Exception] = {}
        while engine.has_work:
            outcomes |= {event.request_id: event.outcome for event in engine.step() if isinstance(event, Finished)}
        return [outcomes[request_id] for request_id in ids]

    return run


@pytest.fixture(scope="session")
def build_variant(tmp_path_factory: pytest.TempPathFactory) -> BuildVariant:
    """Architecture, scheme and name of a variant to a student; weights so wide that outputs vary and end now and then."""
    counter = itertools.count()

    @cache
    def build(architecture: str, scheme: str, variant: str) -> Student:
        folder = tmp_path_factory.mktemp(f"student{next(counter)}")
        return _student(folder, architecture, scheme, UNIFORM, VARIANTS[variant])

    return build


@pytest.fixture(scope="session")
def build_student(build_variant: BuildVariant) -> BuildStudent:
    """Architecture and scheme to a plain student."""
    return lambda architecture, scheme: build_variant(architecture, scheme, "plain")


@pytest.fixture(scope="session")
def build_structured(tmp_path_factory: pytest.TempPathFactory) -> BuildStructured:
    """A student as those above, with other bits and fewer heads in some blocks."""
    folder = tmp_path_factory.mktemp("structured")
    return lambda architecture, scheme, structure: _student(folder, architecture, scheme, structure)


@pytest.fixture(scope="session")
def structures(build_student: BuildStudent) -> st.SearchStrategy[Structure]:
    """Of those students: any bits in any blocks, and 1 to 4 heads in any attentions."""
    names = blocks(build_student("bart", "2-2-8").artifact.architecture)
    attentions = [name for name in names if name.endswith("_attn")]
    return st.builds(
        Structure,
        st.dictionaries(st.sampled_from(names), st.sampled_from(WEIGHT_BITS)),
        st.dictionaries(st.sampled_from(attentions), st.integers(1, 4)),
    )


def _student(
    folder: Path, architecture: str, scheme: str, structure: Structure, variant: Variant = VARIANTS["plain"]
) -> Student:
    torch.manual_seed(7)
    config_class, model_class = CLASSES[architecture]
    shape = {
        "vocab_size": 203,
        "d_model": 64,
        "encoder_layers": 2,
        "decoder_layers": 2,
        "encoder_attention_heads": 4,
        "decoder_attention_heads": 4,
        "encoder_ffn_dim": 96,
        "decoder_ffn_dim": 96,
        "max_position_embeddings": 64,
        "scale_embedding": architecture == "mbart",
        "init_std": 0.3,
        "forced_eos_token_id": None,
        "decoder_start_token_id": 2,
    }
    config = config_class(**{**shape, **variant.config})
    stock = model_class(config)
    variant.change(stock)
    settle_embeddings(stock, missing=())
    _diversify(stock)
    resize_heads(stock, structure.heads)
    stock.eval()
    parsed = Scheme.parse(scheme)
    weights = {name: tensor.clone() for name, tensor in full_precision_weights(stock).items()}
    write_artifact(folder, weights, stock.config.to_dict(), {}, parsed, "sha256:0", CARD, structure)
    quantize_modules(stock, parsed, structure)
    return Student(stock, read_artifact(folder))


def _diversify(stock: BartForConditionalGeneration | MBartForConditionalGeneration) -> None:
    """Without this a random model with a tied head repeats its last token for ever.

    Norms of random sign keep the head from recognising the token that was just fed, and a long embedding of </s> makes
    ends likely.
    """
    last = "decoder.layer_norm" if hasattr(stock.model.decoder, "layer_norm") else "decoder.layers.1.final_layer_norm"
    with torch.no_grad():
        for name, parameter in stock.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(std=0.02)
            elif parameter.dim() == 1 and last in name:
                parameter.normal_()
            elif name.endswith("out_proj.weight"):
                parameter *= 0.3
            elif name.endswith("fc2.weight"):
                parameter -= parameter.mean(1, keepdim=True)
            elif name.endswith("embed_positions.weight"):
                parameter *= 2
        for weight in {stock.model.shared.weight, stock.model.decoder.embed_tokens.weight, stock.lm_head.weight}:
            weight[2] *= 1.5


@pytest.fixture(scope="session")
def sources() -> list[tuple[int, ...]]:
    """Random sources of 1 to 60 tokens that end in </s>."""
    generator = torch.Generator().manual_seed(3)
    lengths = [1, 2, 3, 5, 8, 13, 15, 16, 17, 21, 31, 32, 33, 40, 48, 60]
    return [(*torch.randint(4, 203, (length - 1,), generator=generator).tolist(), 2) for length in lengths]
