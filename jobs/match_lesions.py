"""Find the same lesion over time: group a patient's lesions of all studies into sequences."""

from etl.commands.match_lesions import main

if __name__ == "__main__":
    main()
