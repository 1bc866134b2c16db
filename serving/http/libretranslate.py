"""The interface of LibreTranslate, as its clients ask it: `/translate`, `/languages` and `/frontend/settings`.

It is the default translation model that answers.

Fields come as JSON, as a form of either kind, or in the query. Texts are translated sentence by sentence, empty ones are
their own translation. Languages are not detected: `auto` is accepted as the source where the target tells it. A model that
has no codes of languages takes any. What LibreTranslate has beyond that (detection, HTML, files, suggestions) is refused, in
the words of its own servers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

from fastapi import APIRouter, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from quant.card import Task
from serving.http.bodies import form_value, json_value, multipart_value
from serving.http.errors import TEXT_ERRORS
from serving.service.errors import ServiceError
from serving.service.languages import english_name, resolve_languages, short_codes
from serving.service.messages import Message, no_boolean
from serving.service.requests import GenerationParameters, Texts, TranslateRequest
from serving.service.results import Result
from serving.service.service import Limits, Service

TASK_OF_PATH: dict[str, Task] = {"/translate": "translation"}

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data"
AUTO = "auto"

DISABLED = {
    "/detect": "Language detection is disabled on this server: name the source language",
    "/suggest": "Suggestions are disabled on this server",
    "/translate_file": "Files translation is disabled on this server",
}
"""What LibreTranslate's clients are told where its operator has switched something off."""

THEIR_NAMES = {"source_language": "source", "target_language": "target"}


class TranslateBody(Message):
    """A text or texts to translate."""

    q: Texts
    source: str = Field(description="a code or a name of the language; auto where the target tells it", max_length=200)
    target: str = Field(description="a code or a name of the language", max_length=200)
    format: str = Field(default="text", description="text; html is not translated")
    alternatives: int = Field(default=0, ge=0, description="how many more translations of each text, the next best ones")
    api_key: str | None = Field(
        default=None,
        description="where the server asks for one, and no header has it: it is looked for before the body is read",
    )

    _number = field_validator("alternatives", mode="before")(no_boolean)

    @field_validator("format")
    @classmethod
    def _plain_text(cls, given: str) -> str:
        if given != "text":
            raise ValueError("only text is translated: markup would be lost or damaged")
        return given


class DetectedLanguage(BaseModel):
    """What `auto` was taken for."""

    confidence: float
    """0: it was told by the target, and not detected."""
    language: str


class TranslateResponse(BaseModel):
    """A text for a text, a list for a list."""

    translatedText: str | list[str]
    alternatives: list[str] | list[list[str]] | None = None
    """Of each text those that differ; only where they were asked for."""
    detectedLanguage: DetectedLanguage | list[DetectedLanguage] | None = None
    """Only with `auto`."""


class Language(BaseModel):
    """A language that is translated from."""

    code: str
    name: str
    targets: list[str]
    """Codes of those that it is translated to."""


class LanguageChoice(BaseModel):
    """A language to begin with."""

    code: str
    name: str


class FrontendSettings(BaseModel):
    """What a page that asks this server may offer."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    apiKeys: bool
    keyRequired: bool
    charLimit: int
    """Characters of one text."""
    frontendTimeout: int = 500
    """Milliseconds to wait for more to be typed."""
    suggestions: bool = False
    filesTranslation: bool = False
    supportedFilesFormat: list[str] = []
    language: dict[str, LanguageChoice]
    """The `source` and the `target`; none for a model that has no codes."""


def router(service: Service, restricted: bool) -> APIRouter:
    """The routes, which ask `service`; `restricted` where it asks for keys."""
    routes = APIRouter(tags=["LibreTranslate"], responses=TEXT_ERRORS)
    schema = TranslateBody.model_json_schema()
    body = {kind: {"schema": schema} for kind in (JSON, FORM, MULTIPART)}

    @routes.post(
        "/translate",
        openapi_extra={"requestBody": {"required": True, "content": body}},
        response_model_exclude_none=True,
    )
    async def translate(request: Request) -> TranslateResponse:
        """Translate one text or several."""
        try:
            asked = TranslateBody.model_validate(await _fields(request, service.limits))
        except ValidationError as fault:
            raise RequestValidationError(fault.errors()) from None
        try:
            return await _translated(service, asked)
        except ServiceError as error:
            raise _in_their_words(error) from None

    @routes.get("/languages")
    async def languages() -> list[Language]:
        """What the default translation model translates."""
        return _languages(service)

    @routes.get("/frontend/settings")
    async def frontend_settings() -> FrontendSettings:
        """What a page that asks this server may offer."""
        known = {each.code: each for each in _languages(service)}
        chosen: dict[str, LanguageChoice] = {}
        if first := next(iter(known.values()), None):
            target = first.targets[0]
            name = english_name(target) or target
            chosen = {
                "source": LanguageChoice(code=first.code, name=first.name),
                "target": LanguageChoice(code=target, name=known[target].name if target in known else name),
            }
        limit = service.limits.max_source_characters
        return FrontendSettings(apiKeys=restricted, keyRequired=restricted, charLimit=limit, language=chosen)

    for path, message in DISABLED.items():
        routes.add_api_route(path, _refuse(message), methods=["POST"], include_in_schema=False)
    return routes


async def _translated(service: Service, asked: TranslateBody) -> TranslateResponse:
    texts = [asked.q] if isinstance(asked.q, str) else asked.q
    pairs = service.language_pairs()
    source, target = (None if asked.source == AUTO else asked.source, asked.target) if pairs else (None, None)
    given = [text for text in texts if text.strip()]
    results: list[Result] = []
    if given or not texts:
        wanted = TranslateRequest(
            text=given,
            source_language=source,
            target_language=target,
            parameters=_parameters(service, asked.alternatives),
        )
        results = list((await service.generate(wanted, "http")).results)
    answered = iter(results)
    outputs = [_outputs(next(answered)) if text.strip() else [text] for text in texts]
    first = [each[0] for each in outputs]
    others = [each[1:] for each in outputs] if asked.alternatives else None
    detected = None
    if asked.source == AUTO and pairs:
        code, _ = resolve_languages(pairs, None, asked.target)
        detected = DetectedLanguage(confidence=0.0, language=_short(pairs)[code or ""])
    if isinstance(asked.q, str):
        return TranslateResponse(translatedText=first[0], alternatives=others and others[0], detectedLanguage=detected)
    each_detected = detected and [detected for _ in texts]
    return TranslateResponse(translatedText=first, alternatives=others, detectedLanguage=each_detected)


def _parameters(service: Service, alternatives: int) -> GenerationParameters:
    if not alternatives:
        return GenerationParameters()
    if alternatives >= service.limits.max_rows:
        message = f"{alternatives} are too many, {service.limits.max_rows - 1} at most are accepted"
        raise RequestValidationError([{"type": "too_many", "loc": ("alternatives",), "msg": message}])
    return service.best_of("translation", None, alternatives + 1)


def _outputs(result: Result) -> list[str]:
    """The best text and those that differ from it, each once."""
    return list(dict.fromkeys([result.text, *(output.text for output in result.sequences or ())]))


def _languages(service: Service) -> list[Language]:
    pairs = service.language_pairs()
    codes = _short(pairs)
    return [
        Language(
            code=codes[source],
            name=english_name(source) or source,
            targets=[codes[target] for other, target in pairs if other == source],
        )
        for source in dict.fromkeys(source for source, _ in pairs)
    ]


def _short(pairs: tuple[tuple[str, str], ...]) -> dict[str, str]:
    return short_codes(list(dict.fromkeys(code for pair in pairs for code in pair)))


def _in_their_words(error: ServiceError) -> ServiceError:
    message = error.message
    for ours, theirs in THEIR_NAMES.items():
        message = message.replace(ours, theirs)
    return ServiceError(error.code, message, THEIR_NAMES.get(error.field or "", error.field))


def _refuse(message: str) -> Callable[[], Any]:
    async def refuse() -> None:
        raise HTTPException(HTTPStatus.FORBIDDEN, message)

    return refuse


async def _fields(request: Request, limits: Limits) -> Any:
    """What the query and the body say. Raises RequestValidationError for what cannot be read, HTTPException (415)."""
    most_fields, most_characters = limits.max_inputs + len(TranslateBody.model_fields), limits.max_source_characters
    query = await form_value(request.scope["query_string"], most_fields, most_characters)
    body = await request.body()
    if not body and query:
        return query
    given = request.headers.get("content-type", JSON)
    kind = given.partition(";")[0].strip().lower()
    fields: Any
    if kind == JSON:
        fields = await json_value(body, most_characters)
    elif kind == FORM:
        fields = await form_value(body, most_fields, most_characters)
    elif kind == MULTIPART:
        fields = await multipart_value(body, given, most_fields, most_characters)
    else:
        message = f"a body with Content-Type: {JSON}, {FORM} or {MULTIPART} is expected"
        raise HTTPException(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, message)
    return {**fields, **query} if query and isinstance(fields, Mapping) else fields
