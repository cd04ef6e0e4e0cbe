import re
import socket

import pytest


def pytest_xdist_make_scheduler(config, log):
    """Of several processes one takes all tests of a file, since they share what is costly to
    make; of the chapters' and the pages' files, all tests of a chapter or a page."""
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            file, _, test = nodeid.partition("::")
            page = re.search(r"\[([\w/.-]+?\.(md|html))\b", test)
            return f"{file} {page[1]}" if page and "tests/book/" in file else file

    return Scheduling(config, log)


def pytest_terminal_summary(terminalreporter):
    """Where the time went: seconds of all tests of a folder, and of the slowest files."""
    seconds = {}
    for reports in terminalreporter.stats.values():
        for report in reports:
            if hasattr(report, "duration"):
                file = report.nodeid.split("::")[0]
                for place in (file.rpartition("/")[0], file):
                    seconds[place] = seconds.get(place, 0) + report.duration
    longest = sorted(seconds, key=seconds.get, reverse=True)[:20]
    terminalreporter.section("seconds of tests, of all processes")
    for place in longest:
        terminalreporter.write_line(f"{seconds[place]:7.1f} {place}")


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """Whoever reaches for the network in these tests fails; processes of this machine may talk."""
    connect = socket.socket.connect

    def refuse(*args, **kwargs):
        raise AssertionError(f"network access: {args[1:]}")

    def connect_here(self, address):
        if self.family != getattr(socket, "AF_UNIX", None):
            refuse(self, address)
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", connect_here)
    monkeypatch.setattr(socket.socket, "connect_ex", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path):
    """Every test has an empty cache of its own."""
    monkeypatch.setenv("MMER_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="session")
def shared_cache(tmp_path_factory):
    """A cache that lasts for the session: the small demo corpus and its features."""
    return tmp_path_factory.mktemp("shared_cache")


@pytest.fixture(scope="session")
def small_recipe():
    """The real recipe with 160 utterances."""
    from mmer_lib.corpora.demo import demo

    recipe = demo.read_recipe()
    recipe["per_speaker_and_emotion"] = 4
    return recipe


@pytest.fixture(scope="session")
def small_corpus(shared_cache, small_recipe):
    """The demo corpus of `small_recipe`, made once a session."""
    from mmer_lib.corpora.demo import demo

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MMER_CACHE", str(shared_cache))
        return demo.load(small_recipe, progress=False)


@pytest.fixture
def keep_cache(own_cache, shared_cache, monkeypatch):
    """For this test, the session's cache instead of an empty one."""
    monkeypatch.setenv("MMER_CACHE", str(shared_cache))
    return shared_cache
