"""Which tubedet runs."""

import subprocess
from pathlib import Path

import tubedet


def source_version() -> str:
    """Return the version and, in a clone, its commit: ``"0.1.0, commit 1a2b3c4 (changed)"``."""
    folder = Path(tubedet.__file__).parents[1]
    if not (folder / ".git").exists():  # installed: a repository around it is another project's
        return tubedet.__version__
    command = ["git", "-C", str(folder), "describe", "--always", "--exclude=*"]
    command += ["--dirty= (changed)"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError) as error:
        return f"{tubedet.__version__}, commit unknown ({error})"
    return f"{tubedet.__version__}, commit {found.stdout.strip()}"
