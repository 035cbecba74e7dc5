"""Build the DeepLesion store: convert what the config selects and publish one new version."""

from etl.commands.build_store import main

if __name__ == "__main__":
    main()
