import shutil
from dataclasses import replace

import pytest

from mmer_lib.corpora.mosi import csd, unpickle
from tests.corpora import fake_iemocap, fake_mosi, fake_own


@pytest.fixture(scope="module")
def no_child():
    """The readers of pickles and ``.csd`` files read in this process."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (csd, unpickle):
            patch.setattr(module, "read_in_child", fake_mosi.read_here)
        yield


@pytest.fixture(scope="session")
def whole(tmp_path_factory):
    """A made-up release of IEMOCAP that no test changes."""
    return fake_iemocap.write(tmp_path_factory.mktemp("release"))


@pytest.fixture
def release(whole, tmp_path):
    """A copy of it to be damaged; its files keep their times of change."""
    shutil.copytree(whole.root, tmp_path / "release")
    return replace(whole, root=tmp_path / "release")


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "mine"


@pytest.fixture
def table(folder):
    """A good table of 16 utterances by 4 speakers."""
    return fake_own.write(folder, fake_own.rows_of(16))
