"""Small, quantized seq2seq models: compressed offline, served fast."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
"""Where the packages of the project are: the checkout, or what it was installed to."""
