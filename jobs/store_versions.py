"""Versions of a store: list them, look into one, compare two, roll back to one, remove old ones."""

from etl.commands.store_versions import main

if __name__ == "__main__":
    main()
