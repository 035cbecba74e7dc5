"""The templates of all pages; they escape every text from the data."""

from __future__ import annotations

import jinja2
from markupsafe import Markup

from etl.core.counted import counted

PAGES = jinja2.Environment(
    loader=jinja2.PackageLoader("etl.report", "template"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
PAGES.filters["counted"] = counted


def source(name: str) -> Markup:
    """Return a style sheet or script as it is."""
    loader = PAGES.loader
    assert loader is not None
    return Markup(loader.get_source(PAGES, name)[0])
