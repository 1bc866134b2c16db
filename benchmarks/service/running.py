"""What a server that runs already says of its models."""

from __future__ import annotations

from typing import NamedTuple

from quant.card import TASKS, Task


class WrongServer(Exception):
    """A server that does not answer, or does not serve what is to be measured."""


class Listed(NamedTuple):
    """A served model."""

    name: str
    task: Task
    languages: tuple[tuple[str, str], ...]
    """The first two codes as a pair; nothing for a model without languages."""


def listed_models(url: str | None, server: str | None, api_key: str | None) -> list[Listed]:
    """All of them. Asks over gRPC where `server` is given. Raises WrongServer."""
    return _over_grpc(server, api_key) if server is not None else _over_http(url or "", api_key)


def listed_model(url: str | None, server: str | None, api_key: str | None, name: str | None) -> Listed:
    """The named model, else the first. Raises WrongServer."""
    models = listed_models(url, server, api_key)
    for model in models:
        if name in (None, model.name):
            return model
    raise WrongServer(f"served_model = {name!r}: there are {', '.join(model.name for model in models) or 'none'}")


def _over_grpc(server: str, api_key: str | None) -> list[Listed]:
    from serving.clients.client import Client, ServerError

    try:
        with Client(server, api_key=api_key) as client:
            return [_listed(model.name, model.task, list(model.languages)) for model in client.models()]
    except ServerError as error:
        raise WrongServer(str(error)) from error


def _over_http(url: str, api_key: str | None) -> list[Listed]:
    import httpx

    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    try:
        answer = httpx.get(f"{url.rstrip('/')}/v1/models", headers=headers, timeout=30).raise_for_status()
        return [_listed(model["name"], model["task"], model["languages"]) for model in answer.json()["models"]]
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError, TypeError) as error:
        raise WrongServer(f"{url}/v1/models: {error}") from error


def _listed(name: str, task: str, languages: list[str]) -> Listed:
    known = next((each for each in TASKS if each == task), None)
    if known is None:
        raise WrongServer(f"{name} does {task}, which this version does not know")
    return Listed(name, known, ((languages[0], languages[1]),) if len(languages) > 1 else ())
