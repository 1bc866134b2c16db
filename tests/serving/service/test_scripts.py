from __future__ import annotations

import pytest

from serving.service.scripts import has_letters


@pytest.mark.parametrize(
    ("text", "script", "expected"),
    [
        ("Guten Morgen", "Latn", True),
        ("Привет, мир", "Latn", False),
        ("Привет, Welt", "Latn", True),
        ("東京", "Jpan", True),
        ("ひらがな", "Jpan", True),
        ("東京", "Hans", True),
        ("東京", "Latn", False),
        ("OK", "Cyrl", False),
        ("12:30, 5 € 😊", "Latn", False),
        ("Привет", None, True),
        ("Привет", "Cher", True),
        # What is of no script that is told apart, here the micro sign, may belong to any.
        ("µ", "Latn", True),
        ("", None, False),
    ],
)
def test_letters_of_a_script(text: str, script: str | None, expected: bool) -> None:
    assert has_letters(text, script) is expected
