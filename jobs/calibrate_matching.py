"""Calibrate the matching of lesions over time on known pairs, or score the committed calibration."""

from etl.commands.calibrate_matching import main

if __name__ == "__main__":
    main()
