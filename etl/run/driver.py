"""The process that runs a detached job's script; started as `python -m etl.run.driver FOLDER LOCK`.

The scheduler starts it. It outlives whoever submitted the job, and a scheduler that is restarted. It and the
script hold the folder's lock, a file descriptor that is handed down, as long as they run. It leaves the exit
code.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from etl.run.script import run_script


def main(folder: Path, lock: int) -> int:
    """Run the script of the job in `folder`; returns its exit code."""
    job = json.loads((folder / "job.json").read_text())
    code = run_script(job["command"], os.environ, keep=[lock])
    partial = folder / "exit_code.partial"
    partial.write_text(str(code))
    partial.rename(folder / "exit_code")
    return code


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2])))
