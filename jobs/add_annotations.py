"""Add annotations of DeepLesion by others to a store, or check how they join."""

from etl.commands.add_annotations import main

if __name__ == "__main__":
    main()
