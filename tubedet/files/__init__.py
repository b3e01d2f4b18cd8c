"""Files, whatever they hold: locks between processes."""
