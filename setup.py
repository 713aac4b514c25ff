"""Packaging that pyproject.toml cannot express: ``configs`` is installed as the package ``routenator_configs``."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["routenator*", "jobs*", "slurm*"]), "routenator_configs"],
    package_dir={"routenator_configs": "configs"},
    package_data={
        "routenator": [
            "py.typed",
            "*.pyi",
            "domain/prompts/*.yaml",
            "domain/queries/*.yaml",
            "authoring/door/words/*.yaml",
        ],
        "routenator_configs": ["**/*"],
    },
)
