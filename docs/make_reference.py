"""Write the API reference of `deeplesion_store` from its docstrings: `make docs`."""

from __future__ import annotations

from pathlib import Path

import pdoc

import deeplesion_store

OUT = Path("build/docs")

if __name__ == "__main__":
    # pdoc sees only names that are imported already.
    vars(deeplesion_store).update(
        {name: getattr(deeplesion_store, name) for name in deeplesion_store.__all__}
    )
    pdoc.render.configure(docformat="google", show_source=False)
    pdoc.pdoc("deeplesion_store", "etl.store.version_tables", output_directory=OUT)
    page = "".join(path.read_text() for path in OUT.rglob("*.html"))
    missing = [
        name
        for name in (*deeplesion_store.__all__, "Store.crop", "VersionTables.lesions")
        if f'id="{name}"' not in page
    ]
    if missing:
        raise SystemExit(f"not in the reference: {', '.join(missing)}")
