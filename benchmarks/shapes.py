"""Names of shapes that a random student may have."""

from __future__ import annotations

from typing import Literal

Shape = Literal["bart-base", "mbart-50"]
