"""Write the API reference of `deeplesion_store` from its docstrings: `make docs`."""

from __future__ import annotations

from pathlib import Path

import pdoc

import deeplesion_store
from etl.store import reader
from etl.store.derived import DerivedTables
from etl.store.version_tables import Objects, Version, VersionTables

OUT = Path("build/docs")

if __name__ == "__main__":
    # pdoc sees only names that are imported already, and types of a constructor in its module.
    vars(deeplesion_store).update(
        {name: getattr(deeplesion_store, name) for name in deeplesion_store.__all__}
    )
    vars(reader).update(Objects=Objects, Version=Version)
    readers = (deeplesion_store.Store, VersionTables, DerivedTables)
    pdoc.render.configure(docformat="google", show_source=False)
    pdoc.pdoc("deeplesion_store", *(one.__module__ for one in readers[1:]), output_directory=OUT)
    page = "".join(path.read_text() for path in OUT.rglob("*.html"))
    methods = [f"{one.__name__}.{name}" for one in readers for name in vars(one) if not name.startswith("_")]
    missing = [name for name in (*deeplesion_store.__all__, *methods) if f'id="{name}"' not in page]
    if missing:
        raise SystemExit(f"not in the reference: {', '.join(missing)}")
