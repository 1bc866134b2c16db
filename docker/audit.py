"""Asks the advisory service about every pinned version: `make audit`.

pip-audit says "No known vulnerabilities found" also where an index has answered nothing: a mirror without advisories looks
like a clean bill. So an old version with known vulnerabilities is asked about first. Where it is not found to be vulnerable,
nothing is known, and that is what this says, with exit code 2. It is 1 where a pinned version has a vulnerability.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

PINNED = Path(__file__).with_name("constraints.txt")
KNOWN = "jinja2==2.11.0"
FOUND = 1
"""pip-audit's exit code, which it also has for faults of its own: then it names no advisory."""
SERVICES = ("osv", "pypi")


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        known = Path(folder) / "known.txt"
        known.write_text(f"{KNOWN}\n")
        for service in SERVICES:
            asked = ask(service, known)
            if asked.returncode == FOUND and "vulnerabilit" in asked.stderr and "jinja2" in asked.stdout.lower():
                print(f"Asking {service} about {PINNED.name}", flush=True)
                answer = ask(service, PINNED)
                print(answer.stdout + answer.stderr, end="")
                return answer.returncode
            last = (asked.stderr.strip() or asked.stdout.strip() or "no answer").splitlines()[-1]
            print(f"{service} does not know that {KNOWN} is vulnerable: {last[:300]}", file=sys.stderr)
    print("NOT AUDITED: no advisory service can be reached from here, so that nothing is known either way", file=sys.stderr)
    return 2


def ask(service: str, requirements: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pip_audit", "--vulnerability-service", service, "--requirement", str(requirements)]
    options = ["--no-deps", "--disable-pip", "--strict", "--progress-spinner", "off", "--timeout", "15"]
    return subprocess.run([*command, *options], capture_output=True, text=True, check=False)


if __name__ == "__main__":
    sys.exit(main())
