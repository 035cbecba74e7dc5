"""The release as it is published: its CSV, its archives and folders, and the names of its slices."""
