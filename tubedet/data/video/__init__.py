"""A video in, frames at times out: files, frame folders, cameras and lists of images."""
