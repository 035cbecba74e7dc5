"""`python -m etl.commands`: the command `deeplesion`, which `dask-submit deeplesion` runs this way."""

import sys

from etl.commands.deeplesion import main

if __name__ == "__main__":
    sys.argv[0] = "deeplesion"
    main(prog_name="deeplesion")
