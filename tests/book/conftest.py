import pytest


@pytest.fixture(autouse=True)
def own_cache():
    """Chapters and pages are tested as they are built: with the cache of the machine."""


@pytest.fixture(autouse=True)
def no_network():
    """The kernel and the browser talk to this process through sockets of this machine."""
