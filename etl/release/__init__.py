"""What the source looks like: the CSV, the archives, the slice names; reading and fetching them."""
