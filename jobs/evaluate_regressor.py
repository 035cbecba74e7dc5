"""Score a folder of slices with a body-part regressor, and say how well their order is right."""

from etl.commands.evaluate_regressor import main

if __name__ == "__main__":
    main()
