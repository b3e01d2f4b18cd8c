"""Packages and data of tubedet; pyproject.toml has its metadata. `make setup` installs both."""

import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py


class BuildWithConfigs(build_py):
    """Copy configs/ into the package, where :func:`tubedet.model_zoo.get_config_file` looks."""

    def run(self):
        """Build the package."""
        super().run()
        if not self.editable_mode:
            shutil.copytree(
                Path(__file__).parent / "configs",
                Path(self.build_lib) / "tubedet" / "configs",
                ignore=shutil.ignore_patterns("*.md"),
                dirs_exist_ok=True,
            )


setup(
    packages=find_packages(include=("tubedet", "tubedet.*")),
    # This is the default. Stated, it makes an editable install put this folder on sys.path;
    # otherwise setuptools installs a finder, which loses to a folder "tubedet" beside a script.
    package_dir={"": "."},
    package_data={"tubedet": ["py.typed"], "tubedet.data.datasets": ["label_maps/*.pbtxt"]},
    cmdclass={"build_py": BuildWithConfigs},
)
