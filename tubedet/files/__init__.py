"""Files, whatever they hold: atomic writing, locks, safe reading of pickles, URLs."""
