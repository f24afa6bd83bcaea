"""The versions that a variant's files depend on; asked in the process that makes them, whose stack may be another."""

from importlib.metadata import PackageNotFoundError, version

_PACKAGES = (
    "openvino",
    "openvino-tokenizers",
    "nncf",
    "optimum-intel",
    "transformers",
    "tokenizers",
    "huggingface-hub",
    "torch",
)


def package_versions() -> dict[str, str]:
    """Return the version of each package that is there."""
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions
