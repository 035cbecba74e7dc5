"""Speed and memory measurements of `make bench`, each part run in a process of its own."""
