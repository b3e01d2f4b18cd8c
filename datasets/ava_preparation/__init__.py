"""Steps from the public lists of AVA to a data set on disk."""
