"""Train a body-part regressor on the volumes of a store, and add the model to the store."""

from etl.commands.train_regressor import main

if __name__ == "__main__":
    main()
