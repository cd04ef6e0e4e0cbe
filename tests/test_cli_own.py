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
from tests.test_cli import FAST, refused

pytestmark = pytest.mark.filterwarnings("ignore:no part-of-speech tagger")

OTHER = ("file", "said", "my label", "who")
COLUMNS = [w for f, c in zip(HEADER, OTHER, strict=True) for w in ("--column", f"{f}={c}")]
TINY = ["--set", "projection=8"]


@pytest.fixture
def table(tmp_path):
    """A table whose columns have other names, in a folder that can name no corpus."""
    return write(tmp_path / "my data", rows_of(16), OTHER)


@pytest.fixture
def split(tmp_path):
    """A table with a split of its own."""
    return write(tmp_path / "mine", *with_column("split", ["train", "valid", "test", "train"] * 4))


def test_a_user_who_does_what_each_error_says_gets_to_the_end(table, capsys):
    argv, tried = ["data", str(table)], []
    while main(argv) == 2 and len(tried) < 3:
        tried.append(capsys.readouterr().err)
        if "--column" in tried[-1]:
            advised = shlex.split(tried[-1].rpartition("(")[2].rstrip(")\n"))
            assert advised[1::2] == [f"{field}=..." for field in HEADER]
            argv += COLUMNS
        elif "--name ..." in tried[-1]:
            argv += ["--name", "diary"]
    assert len(tried) == 2
    assert "diary: 16 utterances of 4 speakers in 4 sessions" in capsys.readouterr().out


def test_train_and_its_recorded_command_name_columns_and_corpus(table, tmp_path, capsys):
    out = ["--out", str(tmp_path / "runs")]
    argv = ["train", "bert", "--data", str(table), *COLUMNS, "--name", "diary", *FAST, *TINY, *out]
    assert main(argv) == 0
    said = capsys.readouterr().out
    assert "bert on diary, fold 0" in said and "held-out session, 4 utterances" in said
    command = open_run(said.splitlines()[-1]).result["command"]
    assert "--column 'label=my label'" in command and "--name diary" in command
    again = shlex.split(command.replace("DIR", shlex.quote(str(table.parent))))
    assert main([*again[1:], "--device", "cpu", "--quiet", *out]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == said.splitlines()[-1]


def test_tables_takes_names_of_columns_and_of_the_corpus(table, tmp_path, capsys, monkeypatch):
    rows = (Row("ours", "bert", {"projection": 8}, paper={"wa": 0.7, "ua": 0.7}),)
    monkeypatch.setitem(TABLES, "muse-1", Table("muse-1", "A tiny table.", rows, "ours"))
    argv = ["tables", "muse-1", "--data", str(table), *COLUMNS, "--name", "diary", *FAST]
    argv += ["--preset", "fast", "--seeds", "0", "--folds", "0", "--out", str(tmp_path / "runs")]
    assert main(argv) == 0
    out = capsys.readouterr().out
    assert "Ours on diary, preset fast" in out and Path(out.splitlines()[-1]).is_file()


def test_columns_and_a_name_are_for_tables_alone(table, capsys):
    for line, message in (
        ("data demo --column label=x", "demo: no table of your own; leave out label"),
        ("train muse --data iemocap --root x --name y", "iemocap: no table of your own"),
        (f"data {shlex.quote(str(table))} --column lable=x", "--column lable: no field of a table"),
        ("data x.csv", "x.csv: no such file or folder"),
        ("data no/such/folder", "no/such/folder: no such file or folder"),
    ):
        assert message in refused(capsys, *shlex.split(line))


def test_load_takes_names_as_from_table_does(table):
    names = dict(zip(HEADER, OTHER, strict=True))
    corpus = load(str(table), **names, name="diary")
    assert corpus.key == own.from_table(table, **names, name="diary").key
    assert corpus.arguments == ["--data", "DIR/metadata.csv", *COLUMNS, "--name", "diary"]
    with pytest.raises(DataError, match="unknown corpus 'none'"):
        load("none")


def test_a_split_of_its_own_is_shown_and_trained_on(split, tmp_path, capsys):
    assert main(["data", str(split)]) == 0
    out = capsys.readouterr().out
    assert "in 3 parts (its own split)" in out
    lines = [line.split() for line in out.splitlines()]
    assert ["train", "dev", "test", "all"] in lines and ["all", "8", "4", "4", "16"] in lines
    assert ["angry", "2", "1", "1", "4"] in lines
    assert main(["train", "bert", "--data", str(split), *FAST, *TINY, "--out", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "test part, 4 utterances: wa" in out and "session" not in out


@pytest.mark.filterwarnings("ignore:.*speaker in more than one part")
def test_a_split_that_shares_speakers_is_refused_unless_it_is_meant_so(tmp_path, capsys):
    parts = ["train", "train", "dev", "test"] * 4
    path = write(tmp_path / "mine", *with_column("split", parts, speakers=3))
    assert "more than one part of the split: 3 (p0: " in refused(capsys, "data", path)
    assert main(["data", str(path), "--shared-speakers"]) == 0
    wanted = ["--data", "DIR/metadata.csv", "--shared-speakers"]
    assert load(str(path), shared_speakers=True).arguments == wanted


def test_columns_are_left_out_and_sentiment_rescaled_on_the_command_line(tmp_path, capsys):
    header = (*HEADER, "session", "sentiment")
    path = write(
        tmp_path / "mine", [[*row, "day", i % 5 + 1] for i, row in enumerate(rows_of(16))], header
    )
    given = ["data", str(path), "--column", "session="]
    assert main(given) == 2
    assert "(--scale 1 5)" in capsys.readouterr().err
    assert main([*given, "--scale", "1", "5"]) == 0
    assert "16 utterances of 4 speakers in 4 sessions" in capsys.readouterr().out
