"""Score the slices of a store with a body-part regressor: where in the body each one lies."""

from etl.commands.score_slices import main

if __name__ == "__main__":
    main()
