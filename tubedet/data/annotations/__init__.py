"""A file of annotations in, one table out; each fault is named with its line."""
