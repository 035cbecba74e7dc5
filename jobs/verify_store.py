"""Verify a store: read again everything that a version names, decode every voxel, list every fault."""

from etl.commands.verify_store import main

if __name__ == "__main__":
    main()
