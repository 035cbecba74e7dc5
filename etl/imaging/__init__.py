"""Functions from arrays to arrays: decoding, Hounsfield units, resampling, masks, geometry. No I/O."""
