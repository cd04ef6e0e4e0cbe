"""The command line on a table of one's own."""

import shlex
from pathlib import Path

import pytest

from mmer_lib.cli import main
from mmer_lib.corpora import load, own
from mmer_lib.data import DataError
from mmer_lib.experiments.catalogue import TABLES, Row, Table
from mmer_lib.training.runs import open_run
from tests.corpora.fake_own import HEADER, rows_of, with_column, write
from tests.tiny import SMALL

pytestmark = pytest.mark.filterwarnings("ignore:no part-of-speech tagger")

OTHER = ("file", "said", "my label", "who")
COLUMNS = [w for f, c in zip(HEADER, OTHER, strict=True) for w in ("--column", f"{f}={c}")]
FAST = ["--device", "cpu", "--max-epochs", "1", "--quiet"]
TINY = [w for k, v in SMALL["muse"].items() for w in ("--set", f"{k}={v}")]


@pytest.fixture
def table(tmp_path):
    """A table whose columns have other names, in a folder that can name no corpus."""
    return write(tmp_path / "my data", rows_of(16), OTHER)


def refused(capsys, *argv):
    assert main([str(a) for a in argv]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("mmer: ")
    return line


def test_data_takes_names_of_columns_and_of_the_corpus(table, capsys):
    assert main(["data", str(table), *COLUMNS, "--name", "diary"]) == 0
    assert "diary: 16 utterances of 4 speakers in 4 sessions" in capsys.readouterr().out


def test_what_the_errors_advise_works(table, capsys):
    """A user who does what each error says gets to the end."""
    argv, tried = ["data", str(table)], []
    while main(argv) == 2 and len(tried) < 3:
        tried.append(capsys.readouterr().err)
        if "--column" in tried[-1]:
            advised = shlex.split(tried[-1].rpartition("(")[2].rstrip(")\n"))
            assert advised[1::2] == [f"{field}=..." for field in HEADER]
            argv += COLUMNS
        elif "--name ..." in tried[-1]:
            argv += ["--name", "diary"]
    assert len(tried) == 2 and "diary: 16 utterances" in capsys.readouterr().out


def test_train_and_its_recorded_command_name_columns_and_corpus(table, tmp_path, capsys):
    out = ["--out", str(tmp_path / "runs")]
    argv = ["train", "muse", "--data", str(table), *COLUMNS, "--name", "diary", *FAST, *TINY, *out]
    assert main(argv) == 0
    told = capsys.readouterr().out
    assert "muse on diary, fold 0" in told and "held-out session, 4 utterances" in told
    command = open_run(told.splitlines()[-1]).result["command"]
    assert "--column 'label=my label'" in command and "--name diary" in command
    again = shlex.split(command.replace("DIR", shlex.quote(str(table.parent))))
    assert main([*again[1:], "--device", "cpu", "--quiet", *out]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == told.splitlines()[-1]


def test_tables_takes_names_of_columns_and_of_the_corpus(table, tmp_path, capsys, monkeypatch):
    how = {"align": 0.0, "monitor": "wa", "mode": "max"}
    rows = (Row("ours", "muse", {**SMALL["muse"], **how}, paper={"wa": 0.7, "ua": 0.7}),)
    monkeypatch.setitem(TABLES, "muse-1", Table("muse-1", "A tiny table.", rows, "ours"))
    argv = ["tables", "muse-1", "--data", str(table), *COLUMNS, "--name", "diary", *FAST,
            "--seeds", "0", "--folds", "0", "--out", str(tmp_path / "runs")]  # fmt: skip
    assert main(argv) == 0
    out = capsys.readouterr().out
    assert "Ours on diary, preset paper" in out and Path(out.splitlines()[-1]).is_file()


def test_columns_and_a_name_are_for_tables_alone(table, tmp_path, capsys):
    assert "demo: no table of your own; leave out label" in refused(
        capsys, "data", "demo", "--column", "label=x"
    )
    line = refused(capsys, "train", "muse", "--data", "iemocap", "--root", "x", "--name", "y")
    assert "iemocap: no table of your own; leave out name (--column, --name, --sh" in line
    line = refused(capsys, "data", table, "--column", "lable=x")
    assert "--column lable: no field of a table; known: audio, text, label, speaker" in line
    assert "--column label: write FIELD=NAME" in refused(capsys, "data", table, "--column", "label")
    line = refused(capsys, "data", table, "--column", "label=x", "--column", "label=y")
    assert "--column label: given twice" in line


@pytest.mark.parametrize("name", ["none.csv", "no/such/folder", "./none"])
def test_a_path_where_nothing_is_is_called_so(tmp_path, monkeypatch, capsys, name):
    monkeypatch.chdir(tmp_path)
    assert f"mmer: {name}: no such file or folder" in refused(capsys, "data", name)
    with pytest.raises(
        DataError, match="unknown corpus 'none'; known: demo, iemocap, mosi, mosei, or a table"
    ):
        load("none")


def test_load_takes_names_as_from_table_does(table):
    names = dict(zip(HEADER, OTHER, strict=True))
    corpus = load(str(table), **names, name="diary")
    assert corpus.key == own.from_table(table, **names, name="diary").key
    wanted = ["--data", "DIR/metadata.csv", *COLUMNS, "--name", "diary"]
    assert corpus.arguments == wanted
    plain = load(str(write(table.parents[1] / "plain", rows_of(16))))
    assert plain.arguments == ["--data", "DIR/metadata.csv"]


# ------------------------------------------------------------------------ a split of its own


@pytest.fixture
def split(tmp_path):
    return write(tmp_path / "mine", *with_column("split", ["train", "valid", "test", "train"] * 4))


def test_data_shows_the_parts_of_a_split(split, capsys):
    assert main(["data", str(split)]) == 0
    out = capsys.readouterr().out
    assert "group" not in out and "in 3 parts (its own split)" in out
    lines = [line.split() for line in out.splitlines()]
    assert ["train", "dev", "test", "all"] in lines and ["all", "8", "4", "4", "16"] in lines
    assert ["angry", "2", "1", "1", "4"] in lines


def test_train_says_test_part_where_there_is_a_split(split, tmp_path, capsys):
    assert main(["train", "muse", "--data", str(split), *FAST, *TINY, "--out", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "test part, 4 utterances: wa" in out and "session" not in out


@pytest.mark.filterwarnings("ignore:.*speaker in more than one part")
def test_a_split_that_shares_speakers_is_refused_unless_it_is_meant_so(tmp_path, capsys):
    path = write(tmp_path / "mine", *with_column("split", ["train", "train", "dev", "test"] * 4,
                                                  speakers=3))  # fmt: skip
    assert "more than one part of the split: 3 (p0: " in refused(capsys, "data", path)
    assert main(["data", str(path), "--shared-speakers"]) == 0
    wanted = ["--data", "DIR/metadata.csv", "--shared-speakers"]
    assert load(str(path), shared_speakers=True).arguments == wanted


# -------------------------------------------------------------------------- clear last words


def test_settings_and_folders_that_cannot_be_end_with_one_line(
    split, tmp_path, capsys, monkeypatch
):
    train = ["train", "muse", "--data", split, "--quiet"]
    line = refused(capsys, *train, "--set", "bands=40")
    assert "128 bands every 12 ms over 25 ms; the model is for 40 bands" in line
    taken = tmp_path / "taken"
    taken.write_text("a letter")
    assert "taken is a file, not a folder; name another: --out" in refused(
        capsys, *train, "--out", taken
    )
    assert "is a file" in refused(
        capsys, "tables", "muse-1", "--data", split, "--quiet", "--out", taken
    )
    monkeypatch.setenv("MMER_CACHE", str(taken / "cache"))
    for argv in (train, ["data", "demo"], ["predict", "x.wav", "hello"]):
        assert "is a file, not a folder; name another" in refused(capsys, *argv)


def test_predict_without_a_run_says_what_it_takes(capsys, monkeypatch, tmp_path):
    from mmer_lib import corpora

    def stop(name):
        raise DataError("stopped")

    monkeypatch.setattr(corpora, "load", stop)
    assert main(["predict", str(tmp_path / "x.wav"), "hello"]) == 2
    told = capsys.readouterr().out
    assert "no --run: the fast muse on the demo corpus, trained first if it is not there" in told
