"""The process that runs a detached job's script: `python -m etl.run.driver FOLDER`, started by the scheduler.

It outlives whoever submitted the job, and a scheduler that is restarted. It holds the folder's lock, handed
down by the scheduler, as long as it runs, and leaves the exit code.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from etl.run.script import run_script


def main(folder: Path) -> int:
    """Run the script of the job in `folder`; returns its exit code."""
    job = json.loads((folder / "job.json").read_text())
    code = run_script(job["command"], os.environ)
    partial = folder / "exit_code.partial"
    partial.write_text(str(code))
    partial.rename(folder / "exit_code")
    return code


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
