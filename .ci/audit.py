# noqa: INP001 - a script, no module of a package
"""Ask advisory services for known vulnerabilities of an installed environment; run by `make audit`.

    audit.py [--unless-offline] SITE_PACKAGES

Exit codes: 0 every package was looked up and none has a known vulnerability, 1 one has, 3 some package was
looked up nowhere. pip-audit itself calls it a success when a service knows none of the packages, as a mirror
of PyPI does. With --unless-offline 3 becomes 0, for runs that have no way to a service: they still say, in
capitals, what was not done.
"""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

# osv looks up any package; PyPI's own advisories are asked where that cannot be reached.
SERVICES = ("osv", "pypi")
# Ourselves: no service knows a package that is not published.
OURS = "powerd"
FOUND, NOT_AUDITED = 1, 3
_WITHIN_S = 300

Answer = Mapping[str, Any]


def judge(answers: Mapping[str, Answer | None]) -> tuple[int, list[str]]:
    """Return the exit code and what to say.

    Args:
        answers: by service, what pip-audit wrote; None where it could not ask.
    """
    packages, looked_up, vulnerable = set[str](), set[str](), dict[str, str]()
    for answer in answers.values():
        for package in answer["dependencies"] if answer else ():
            name = package["name"]
            packages.add(name)
            if "skip_reason" in package:
                continue
            looked_up.add(name)
            for found in package["vulns"]:
                fix = ", ".join(found["fix_versions"]) or "no version yet"
                vulnerable[f"{name} {found['id']}"] = (
                    f"{name} {package['version']}: {found['id']}, fixed in {fix}"
                )
    if vulnerable:
        return FOUND, [f"audit: VULNERABLE: {line}" for line in vulnerable.values()]
    missing = sorted(packages - looked_up - {OURS})
    if missing or not looked_up:
        why = ", ".join(f"{service} {_state(answer)}" for service, answer in answers.items())
        what = f"{len(missing)} of {len(packages)} packages WERE NOT" if looked_up else "NOTHING WAS"
        return NOT_AUDITED, [f"audit: {what} AUDITED: the advisories could not be had ({why})"]
    return 0, [f"audit: {len(looked_up)} packages, none with a known vulnerability"]


def _state(answer: Answer | None) -> str:
    if answer is None:
        return "cannot be reached"
    unknown = sum("skip_reason" in package for package in answer["dependencies"])
    return f"does not know {unknown} of {len(answer['dependencies'])}"


def ask(service: str, site_packages: str) -> Answer | None:
    """Return what a service says of the packages in a directory; None if it cannot be asked."""
    command = [sys.executable, "-m", "pip_audit", "--path", site_packages, "--vulnerability-service", service]
    options = ["--format", "json", "--progress-spinner", "off", "--timeout", "15"]
    try:
        done = subprocess.run(  # noqa: S603 - this interpreter's own module
            [*command, *options], capture_output=True, text=True, check=False, timeout=_WITHIN_S
        )
        answer: Answer = json.loads(done.stdout)
    except (subprocess.TimeoutExpired, ValueError):
        return None
    return answer


def main(arguments: Sequence[str]) -> int:
    """Ask the services in turn until one has looked up everything; say what came of it."""
    *options, site_packages = arguments
    answers: dict[str, Answer | None] = {}
    code, lines = NOT_AUDITED, ["audit: nobody was asked"]
    for service in SERVICES:
        answers[service] = ask(service, site_packages)
        code, lines = judge(answers)
        if code != NOT_AUDITED:
            break
    sys.stdout.write("\n".join(lines) + "\n")
    return 0 if code == NOT_AUDITED and "--unless-offline" in options else code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
