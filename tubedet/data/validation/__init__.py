"""What ``validate_dataset`` checks: annotations, lists and media of a data set."""
