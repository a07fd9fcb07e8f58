"""Chromium without a head and without a network, for what is printed and for the tests.

Run as a script it says where the browser is, or what to install, and needs nothing but Python: `make pdf` asks it
before it does any work.
"""

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager

NAMES = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
)
OLDEST = 131  # the first that prints page numbers where a style sheet puts them


class NoBrowser(Exception):
    """There is no browser to print with. The message names what to install."""


def find() -> str:
    """Where the browser is: what the variable ``CHROMIUM`` names, or else the first of :data:`NAMES`."""
    if named := os.environ.get("CHROMIUM"):
        if found := shutil.which(named):
            return found
        raise NoBrowser(f"CHROMIUM names {named}, which is no program.")
    for name in NAMES:
        if found := shutil.which(name):
            return found
    raise NoBrowser(
        "A browser prints the PDF, and there is none. On Debian and Ubuntu: apt install chromium chromium-driver; "
        "elsewhere: Chromium or Google Chrome. One that is not found here can be named: make pdf CHROMIUM=/where/it/is"
    )


@contextmanager
def started(*arguments: str, log: bool = False) -> Iterator:
    """A browser that can reach nothing but this machine.

    Args:
        arguments: more of Chromium's own.
        log: whether it keeps what it asks for and complains of.

    Raises:
        NoBrowser: if there is none, it is too old, or there is nothing to drive it with.
    """
    from selenium import webdriver
    from selenium.common.exceptions import WebDriverException

    options = webdriver.ChromeOptions()
    options.binary_location = find()
    for argument in (
        "--headless=new",
        "--no-sandbox",  # without it Chromium refuses to start as root, as in a container
        "--disable-dev-shm-usage",
        "--disable-background-networking",
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
        *arguments,
    ):
        options.add_argument(argument)
    if log:
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    # Where there is no ChromeDriver, selenium fetches the one that fits, from a network.
    os.environ.setdefault("SE_AVOID_STATS", "true")
    service = webdriver.ChromeService(shutil.which("chromedriver"))
    try:
        driver = webdriver.Chrome(options=options, service=service)
    except WebDriverException as error:
        raise NoBrowser(
            f"{options.binary_location} cannot be driven. {error.msg} On Debian: chromium-driver"
        ) from error
    try:
        version = driver.capabilities["browserVersion"]
        if int(version.split(".")[0]) < OLDEST:
            raise NoBrowser(f"{find()} is version {version}; printing needs {OLDEST} or later.")
        yield driver
    finally:
        driver.quit()


if __name__ == "__main__":
    try:
        find()
    except NoBrowser as missing:
        sys.exit(str(missing))
