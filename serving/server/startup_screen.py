"""The one screen that `dqbart serve` prints when it answers: what is served, and how to ask for it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table

from quant.card import Task
from serving.server.settings import Serve
from serving.service.models import CheckedModel

ASKING: dict[Task, tuple[str, dict[str, str], str, str]] = {
    "translation": ("/v1/translate", {"text": "Guten Morgen!"}, "translate", "'Guten Morgen!'"),
    "summarization": ("/v1/summarize", {"text": "A long text …"}, "summarize", "< article.txt"),
    "question-answering": (
        "/v1/answer",
        {"question": "Who wrote it?", "context": "It was written by …"},
        "answer",
        "'Who wrote it?' --context 'It was written by …'",
    ),
}
"""Task → path, a request's body, and the command with its arguments."""


def print_startup_screen(
    console: Console,
    settings: Serve,
    models: Sequence[CheckedModel],
    defaults: Mapping[Task, str],
    url: str,
    seconds: float,
) -> None:
    """Print it; `seconds` is how long the start took."""
    console.print(_table(models, defaults))
    replicas = "1 replica" if settings.replicas == 1 else f"{settings.replicas} replicas"
    threads = settings.threads_per_replica
    console.print(f"Ready after {seconds:.1f} s: {replicas}, {threads} thread{'s' * (threads > 1)} each. Docs: {url}/docs")
    for task, name in defaults.items():
        path, body, command, arguments = ASKING[task]
        model = next(model for model in models if model.name == name)
        if model.card.language_pairs:
            source, target = model.card.language_pairs[0]
            body = {**body, "source_language": source, "target_language": target}
            arguments += f" --source-language {source} --target-language {target}"
        _print_plain(console, f"\n  curl {url}{path} --json '{json.dumps(body, ensure_ascii=False)}'")
        if settings.grpc_port:
            _print_plain(console, f"  dqbart {command} --server localhost:{settings.grpc_port} {arguments}")
    keyed = bool(settings.keys())
    if keyed:
        _print_plain(console, "\nRequests need an API key: authorization: Bearer KEY, in a header or in gRPC's metadata")
    if settings.grpc_port:
        services = ["dqbart.v1.Seq2Seq", "grpc.health.v1.Health", *([] if keyed else ["reflection"])]
        _print_plain(console, f"\ngRPC on port {settings.grpc_port}: {', '.join(services)}")
        _print_plain(console, f"  grpcurl -plaintext localhost:{settings.grpc_port} dqbart.v1.Seq2Seq/ListModels")


def _table(models: Sequence[CheckedModel], defaults: Mapping[Task, str]) -> Table:
    headings = ("model", "task", "default", "languages", "scheme", "layers", "MiB", "smaller")
    table = Table(*headings, box=None, pad_edge=False)
    for model in models:
        table.add_row(
            model.name,
            model.card.task,
            "yes" if defaults[model.card.task] == model.name else "",
            " ".join(model.card.languages) or "-",
            model.scheme,
            model.layers,
            f"{model.size_bytes / (1 << 20):.1f}",
            f"{model.compression_ratio:.1f}x",
        )
    return table


def _print_plain(console: Console, line: str) -> None:
    # Lines to copy are neither wrapped nor coloured.
    console.print(line, markup=False, highlight=False, soft_wrap=True)
