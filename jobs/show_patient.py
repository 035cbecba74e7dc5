"""Show a patient's lesions over all studies on a page."""

from etl.commands.show_patient import main

if __name__ == "__main__":
    main()
