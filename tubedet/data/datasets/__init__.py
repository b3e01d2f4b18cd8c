"""Names of data sets, registered in detectron2's catalogs."""
