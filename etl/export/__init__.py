"""Files of other people's formats, made from one version of a store."""
