"""The interface of LibreTranslate, as its clients ask it: `/translate` and `/languages`, of the default translation model.

Bodies are JSON or form-encoded. Languages are not detected: `auto` is accepted as the source where the target tells it. What
LibreTranslate has beyond that (detection, HTML, files, alternatives) is refused.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from fastapi import APIRouter, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field, ValidationError, field_validator

from quant.card import Task
from serving.http.bodies import form_value, json_value
from serving.http.errors import TEXT_ERRORS
from serving.service.languages import english_name, short_codes
from serving.service.messages import Message
from serving.service.requests import Texts, TranslateRequest
from serving.service.service import Limits, Service

TASK_OF_PATH: dict[str, Task] = {"/translate": "translation"}

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
AUTO = "auto"


class TranslateBody(Message):
    """A text or texts to translate."""

    q: Texts
    source: str = Field(description="a code or a name of the language; auto where the target tells it", max_length=200)
    target: str = Field(description="a code or a name of the language", max_length=200)
    format: str = Field(default="text", description="text; html is not translated")
    alternatives: int = Field(default=0, description="0; there are no alternatives here")
    api_key: str | None = Field(
        default=None,
        description="where the server asks for one, and no header has it: it is looked for before the body is read",
    )

    @field_validator("format")
    @classmethod
    def _plain_text(cls, given: str) -> str:
        if given != "text":
            raise ValueError("only text is translated: markup would be lost or damaged")
        return given

    @field_validator("alternatives")
    @classmethod
    def _none(cls, given: int) -> int:
        if given != 0:
            raise ValueError("only 0 is supported; POST /v1/translate has num_return_sequences")
        return given


class TranslateResponse(BaseModel):
    """A text for a text, a list for a list."""

    translatedText: str | list[str]


class Language(BaseModel):
    """A language that is translated from."""

    code: str
    name: str
    targets: list[str]
    """Codes of those that it is translated to."""


def router(service: Service) -> APIRouter:
    """The routes, which ask `service`."""
    routes = APIRouter(tags=["LibreTranslate"], responses=TEXT_ERRORS)
    schema = TranslateBody.model_json_schema()
    body = {kind: {"schema": schema} for kind in (JSON, FORM)}

    @routes.post("/translate", openapi_extra={"requestBody": {"required": True, "content": body}})
    async def translate(request: Request) -> TranslateResponse:
        """Translate one text or several."""
        try:
            asked = TranslateBody.model_validate(await _fields(request, service.limits))
        except ValidationError as fault:
            raise RequestValidationError(fault.errors()) from None
        wanted = TranslateRequest(
            text=asked.q,
            source_language=None if asked.source == AUTO else asked.source,
            target_language=asked.target,
        )
        texts = [result.text for result in (await service.generate(wanted, "http")).results]
        return TranslateResponse(translatedText=texts[0] if isinstance(asked.q, str) else texts)

    @routes.get("/languages")
    async def languages() -> list[Language]:
        """What the default translation model translates."""
        pairs = service.language_pairs()
        codes = short_codes(list(dict.fromkeys(code for pair in pairs for code in pair)))
        return [
            Language(
                code=codes[source],
                name=english_name(source) or source,
                targets=[codes[target] for other, target in pairs if other == source],
            )
            for source in dict.fromkeys(source for source, _ in pairs)
        ]

    return routes


async def _fields(request: Request, limits: Limits) -> Any:
    """What a body says. Raises RequestValidationError for one that cannot be read, HTTPException (415) for other kinds."""
    body = await request.body()
    kind = request.headers.get("content-type", JSON).partition(";")[0].strip().lower()
    if kind == JSON:
        return await json_value(body, limits.max_source_characters)
    if kind == FORM:
        return await form_value(body, limits.max_inputs + len(TranslateBody.model_fields), limits.max_source_characters)
    raise HTTPException(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"a body with Content-Type: {JSON} or {FORM} is expected")
