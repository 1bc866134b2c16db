"""`dqbart key`: makes an API key, shows it once, and says what the server is to know of it."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import CliPositionalArg

from dqbart.cli import Command
from serving.service.access import ApiKey, make_key


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
