"""Find the lesions that are most like a lesion, and show them on a page."""

from etl.commands.find_similar import main

if __name__ == "__main__":
    main()
