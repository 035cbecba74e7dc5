"""Where work happens: executors, the cluster, `dask submit`, progress."""
