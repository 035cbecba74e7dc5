"""Embed the lesions of a store with a model."""

from etl.commands.embed_lesions import main

if __name__ == "__main__":
    main()
