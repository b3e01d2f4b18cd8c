"""Runs that are killed at places spread over their whole length, and what they leave."""
