"""The page: its source files, put together once into one document with nothing outside it.

The content security policy names the hashes of the only style and the only script that may run.
"""

import base64
import hashlib
from dataclasses import dataclass
from importlib.resources import files

# In the order in which they run; the last one starts the page.
SCRIPTS = (
    "text.js",
    "dom.js",
    "rules.js",
    "story.js",
    "chart.js",
    "readout.js",
    "verdict.js",
    "gpus.js",
    "rack.js",
    "grid.js",
    "notices.js",
    "page.js",
)


@dataclass(frozen=True, slots=True)
class Page:
    """The document and the policy it is served under."""

    html: str
    content_security_policy: str


def load() -> Page:
    """Read and assemble the page."""
    style = _read("page.css")
    script = '"use strict";\n' + "\n".join(_read(name) for name in SCRIPTS)
    policy = (
        f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return Page(_read("page.html").replace("/*style*/", style).replace("/*script*/", script), policy)


def _read(name: str) -> str:
    return files(__name__).joinpath(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
