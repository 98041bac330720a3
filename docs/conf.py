"""The documents as a site: `make docs`. Nothing in it is loaded from elsewhere."""  # noqa: INP001 -- Sphinx reads it

import tomllib
from pathlib import Path

_PROJECT = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text(encoding="utf-8"))[
    "project"
]

project = _PROJECT["name"]
version = release = _PROJECT["version"]
extensions = ["myst_parser"]
exclude_patterns = ["pictures/*.md"]
html_theme = "furo"
html_title = f"{project} {version}"
html_copy_source = False
html_show_copyright = False
# Links to headings, as on a forge.
myst_heading_anchors = 3
# Examples show topics and messages in no language of their own.
highlight_language = "text"
