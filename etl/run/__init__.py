"""Executors, clusters and `dask submit`: where tasks run. This room knows nothing of slices or volumes."""
