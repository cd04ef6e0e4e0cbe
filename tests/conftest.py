import socket

import pytest


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """Whoever reaches for the network in these tests fails."""

    def refuse(*args, **kwargs):
        raise AssertionError(f"network access: {args[1:]}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket.socket, "connect_ex", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path):
    """Every test has an empty cache of its own."""
    monkeypatch.setenv("MMER_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"
