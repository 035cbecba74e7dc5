"""From the NIH DeepLesion release to an analysis-ready store: OME-Zarr volumes and Parquet tables."""
