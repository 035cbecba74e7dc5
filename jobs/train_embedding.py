"""Train an embedding of lesions on a store."""

from etl.commands.train_embedding import main

if __name__ == "__main__":
    main()
