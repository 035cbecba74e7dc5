"""The command lines: each module is one command, `deeplesion NAME` and `jobs/MODULE.py` alike."""
