"""Small, quantized seq2seq models: compressed offline, served fast.

    from dqbart import load

    with load("models/mbart-de-en-2-4-8") as model:
        (result,) = model.translate(["Guten Morgen!"], source="de", target="en")

What is named here is imported when it is asked for: the command line imports this package too, and does without torch.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from quant.errors import Error
    from serving.engine.errors import GenerationFailed, InvalidSettings
    from serving.engine.runners import RunnerUnavailable
    from serving.program.async_model import AsyncModel
    from serving.program.model import Model, load
    from serving.program.options import Options, Question, TranslateOptions
    from serving.program.process import ForkedError
    from serving.service.errors import ErrorCode, ServiceError
    from serving.service.models import ModelError
    from serving.service.results import Output, Result, Timings, Token, TruncationReport

_PLACES = {
    "quant.errors": ("Error",),
    "serving.engine.errors": ("GenerationFailed", "InvalidSettings"),
    "serving.engine.runners": ("RunnerUnavailable",),
    "serving.program.async_model": ("AsyncModel",),
    "serving.program.model": ("Model", "load"),
    "serving.program.options": ("Options", "Question", "TranslateOptions"),
    "serving.program.process": ("ForkedError",),
    "serving.service.errors": ("ErrorCode", "ServiceError"),
    "serving.service.models": ("ModelError",),
    "serving.service.results": ("Output", "Result", "Timings", "Token", "TruncationReport"),
}

__all__ = [
    "AsyncModel",
    "Error",
    "ErrorCode",
    "ForkedError",
    "GenerationFailed",
    "InvalidSettings",
    "Model",
    "ModelError",
    "Options",
    "Output",
    "Question",
    "Result",
    "RunnerUnavailable",
    "ServiceError",
    "Timings",
    "Token",
    "TranslateOptions",
    "TruncationReport",
    "load",
]

ROOT = Path(__file__).resolve().parent.parent
"""Where the packages of the project are: the checkout, or what it was installed to."""


def __getattr__(name: str) -> Any:
    for module, names in _PLACES.items():
        if name in names:
            return getattr(import_module(module), name)
    raise AttributeError(f"module 'dqbart' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
