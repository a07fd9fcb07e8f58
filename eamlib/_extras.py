"""Packages that only a part of the library needs, and the extra of ``pyproject.toml`` that brings them."""

from __future__ import annotations

from importlib.util import find_spec

ADDRESS = "https://github.com/eamlib/eam-book"


def need(extra: str, *packages: str) -> None:
    """Raise a ``ModuleNotFoundError`` that names ``extra`` if one of ``packages``, as they are imported, is missing.

    Whatever imports an optional package asks here first: before it writes or prints anything.
    """
    if missing := [package for package in packages if find_spec(package) is None]:
        verb = "is" if len(missing) == 1 else "are"
        raise ModuleNotFoundError(
            f"{', '.join(missing)} {verb} not installed. To get all that this needs: {installing(extra)}",
            name=missing[0],
        )


def installing(extra: str) -> str:
    """The command that installs the library with ``extra``."""
    return f'pip install "eamlib[{extra}] @ git+{ADDRESS}"'
