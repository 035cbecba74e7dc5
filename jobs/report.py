"""Write the report of a store's version: a page with its counts, distributions, checks and key slices."""

from etl.commands.report import main

if __name__ == "__main__":
    main()
