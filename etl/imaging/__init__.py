"""Arrays in, arrays out: decode, Hounsfield units, resampling, geometry. No I/O."""
