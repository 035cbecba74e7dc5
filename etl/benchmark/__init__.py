"""How fast, how large, against what: the parts of `jobs/benchmark.py`, each run in a process of its own."""
