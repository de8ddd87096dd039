"""Asks a vulnerability service about all that is locked: fails for what is known to be vulnerable, and only for that.

Where the service cannot be reached, or does not know the packages, that is said plainly: nothing was found then because
nothing was looked at.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

LOCK = Path(__file__).with_name("dev.txt")
"""Holds what run.txt holds, too."""
_SECONDS = 120
_REQUEST_SECONDS = 5


def command(lock: Path) -> list[str]:
    """pip-audit, which resolves and installs nothing: the lock says all."""
    words = [sys.executable, "-m", "pip_audit", "--requirement", str(lock), "--disable-pip", "--require-hashes"]
    return [*words, "--format", "json", "--progress-spinner", "off", "--timeout", str(_REQUEST_SECONDS)]


def ask(lock: Path) -> str:
    """What it prints, as JSON; empty if it could not ask."""
    try:
        done = subprocess.run(command(lock), capture_output=True, text=True, timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return ""
    return done.stdout


def judge(answer: str) -> tuple[int, list[str]]:
    """The exit code, and what to say."""
    try:
        found: list[dict[str, Any]] = json.loads(answer)["dependencies"]
    except (ValueError, KeyError, TypeError):
        return 0, ["audit: NOT CHECKED: the vulnerability service could not be asked"]
    bad = [
        f"audit: {each['name']} {each['version']}: {flaw['id']}, fixed in {', '.join(flaw['fix_versions']) or 'none'}"
        for each in found
        for flaw in each.get("vulns", ())
    ]
    skipped = [each["name"] for each in found if "skip_reason" in each]
    if skipped:
        bad.append(f"audit: NOT CHECKED: the service does not know {len(skipped)} of {len(found)} packages")
    checked = len(found) - len(skipped)
    summary = f"audit: {checked} packages checked, {len(bad) - bool(skipped)} vulnerabilities known"
    return int(len(bad) > bool(skipped)), [*bad, summary]


def main() -> int:
    code, lines = judge(ask(LOCK))
    print("\n".join(lines))
    return code


if __name__ == "__main__":
    sys.exit(main())
