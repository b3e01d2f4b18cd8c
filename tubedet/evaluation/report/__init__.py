"""The html page about a file of predictions."""
