"""`dqbart key`: makes an API key, shows it once, and says what the server is to know of it; and the keys of the settings."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pydantic import Field
from pydantic_settings import CliPositionalArg

from dqbart.cli import Command
from serving.service.access import ApiKey, make_key, read_keys


class Key(Command):
    """Make an API key: the key itself goes to whoever is to use it, the line to the server's settings."""

    name: CliPositionalArg[str] = Field(
        description="whose it is: letters, digits, '.', '_' and '-'; requests are logged by it"
    )

    def cli_cmd(self) -> None:
        key, known = make_key(self.name)
        try:
            ApiKey.parse(known.line())
        except ValueError:
            raise SystemExit(f"name = {self.name!r}: letters, digits, '.', '_' and '-' are accepted, 64 at most") from None
        print(f"The key, which is shown this once:\n\n  {key}\n")
        print("For the server, in --api-keys, DQBART_API_KEYS, or a line of the file that --api-keys-file names:")
        print(f"\n  {known.line()}")


def all_keys(api_keys: Iterable[str], api_keys_file: Path | None) -> tuple[ApiKey, ...]:
    """The API keys of both settings. Raises ValueError naming the setting and the entry at fault."""
    listed = ""
    if api_keys_file is not None:
        try:
            listed = api_keys_file.read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"api_keys_file = {str(api_keys_file)!r}: {error}") from error
    keys = {}
    for setting, lines in (("api_keys", api_keys), ("api_keys_file", listed.splitlines())):
        try:
            keys[setting] = read_keys(lines)
        except ValueError as error:
            raise ValueError(f"{setting}: {error}") from None
    if twice := {key.name for key in keys["api_keys"]} & {key.name for key in keys["api_keys_file"]}:
        raise ValueError(f"api_keys and api_keys_file: both have the name {min(twice)}")
    if api_keys_file is not None and not any(keys.values()):
        raise ValueError(f"api_keys_file = {str(api_keys_file)!r}: it has no keys, so that everybody could ask")
    return (*keys["api_keys"], *keys["api_keys_file"])
