"""The command line: what goes in, what comes out, and one sentence for whatever is wrong."""

import errno
import json
import subprocess
import sys

import pytest

import suffuse
from suffuse.cli import main, values
from suffuse.cli.parser import EXAMPLES, VERBS, parse
from suffuse.errors import AskError
from suffuse.modalities import registry


@pytest.fixture
def points(monkeypatch, tmp_path):
    """A folder to work in, with points.csv and a small untrained model of it."""
    monkeypatch.setattr(registry, "MODALITIES", {"points": "tests.points:Points"})
    monkeypatch.chdir(tmp_path)
    (tmp_path / "points.csv").write_text("1,0,0\n0,2,1\n-1,0.5,1\n")
    made, _ = registry.find("points").read("points.csv")
    suffuse.Model.new(made).save(tmp_path / "model")
    return tmp_path


@pytest.fixture
def bad(capsys, tmp_path):
    """Run words that must be refused: exit code, one line, no traceback, nothing written. Returns the line."""

    def run(*words):
        before = sorted(tmp_path.rglob("*"))
        capsys.readouterr()
        assert main(list(words)) == 2
        out, err = capsys.readouterr()
        assert err.startswith("suffuse: ") and err.count("\n") == 1 and "Traceback" not in err + out
        assert sorted(tmp_path.rglob("*")) == before
        return err

    return run


def test_sampling_writes_a_file(points, capsys):
    assert main(["sample", "model", "-n", "5", "--given", "label=1", "--steps", "3", "-o", "out/made.csv"]) == 0
    lines = (points / "out" / "made.csv").read_text().splitlines()
    assert len(lines) == 5 and all(line.endswith(",1") for line in lines)
    assert capsys.readouterr().out == "wrote out/made.csv\n"


def test_the_start_option_continues_the_row(points):
    assert main(["sample", "model", "-n", "4", "--steps", "2", "-o", "all.csv"]) == 0
    assert main(["sample", "model", "-n", "1", "--start", "3", "--steps", "2", "-o", "last.csv"]) == 0
    one, many = ((points / name).read_text().splitlines() for name in ("last.csv", "all.csv"))
    assert [float(v) for v in one[0].split(",")] == pytest.approx([float(v) for v in many[3].split(",")], abs=1e-4)


def test_training_then_sampling(points, capsys):
    assert main(["train", "points.csv", "-o", "new", "--steps", "3", "--batch", "2", "--skip", "1"]) == 0
    assert main(["info", "new"]) == 0
    told = capsys.readouterr().out
    assert "points" in told and "classes" in told
    assert main(["sample", "new", "-o", "made.csv"]) == 0


def test_tuning_and_distilling_leave_a_model_that_samples(points, capsys, bad):
    assert main(["tune", "model", "--calls", "3", "-o", "quick"]) == 0
    assert list(json.loads((points / "quick" / "config.json").read_text())["settings"]["tuned"]) == ["3"]
    assert main(["sample", "quick", "-n", "2", "--steps", "3", "-o", "made.csv"]) == 0
    assert main(["distill", "model", "points.csv", "--minutes", "0.01", "-o", "short"]) == 0
    assert json.loads((points / "short" / "config.json").read_text())["flow_map"] is True
    assert main(["sample", "short", "-n", "2", "--steps", "1", "-o", "again.csv"]) == 0
    assert "already" in bad("distill", "short", "points.csv", "--minutes", "0.01", "-o", "shorter")
    assert "gone.csv" in bad("distill", "model", "gone.csv", "-o", "other")
    assert "--calls" in bad("tune", "model", "--calls", "0", "-o", "other")


def test_prediction_evaluation_and_lists(points, capsys):
    assert main(["predict", "model", "points.csv", "label"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(rows) == 3 and all(row["class"] in (0, 1) and 0.5 <= row["probability"] <= 1 for row in rows)
    assert main(["predict", "model", "points.csv", "point", "-o", "points.json"]) == 0
    assert len(json.loads((points / "points.json").read_text())) == 3
    assert main(["evaluate", "model", "points.csv"]) == 0
    out = capsys.readouterr().out
    assert "real against real" in out and "1.25" in out and "1.50" in out
    assert main(["evaluate", "model", "points.csv", "-o", "figures.json"]) == 0
    assert json.loads((points / "figures.json").read_text())["spread_real"] == 1.5
    assert main(["modalities"]) == 0 and main(["info", "points.csv"]) == 0
    out = capsys.readouterr().out
    assert "turn, count, names, tell" in out and "examples" in out


def test_a_modality_adds_commands(points, capsys):
    assert main(["turn", "model", "points.csv", "--times", "2", "-o", "turned.csv"]) == 0
    assert (points / "turned.csv").read_text().splitlines()[0] == "-1,-0,0"
    capsys.readouterr()
    assert main(["turn", "model", "points.csv", "--loud"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == "-0,1,0"
    assert main(["names", "model", "points.csv"]) == 0
    assert capsys.readouterr().out.splitlines() == ["point 0", "point 1", "point 2"]
    assert main(["tell", "model", "points.csv", "-n", "2"]) == 0
    assert capsys.readouterr().out == "(1)(0)\n"
    assert main(["tell", "model", "points.csv", "-o", "told.txt"]) == 0
    assert (points / "told.txt").read_text() == "(1)(0)\n" and capsys.readouterr().out == "wrote told.txt\n"
    assert main(["count", "model", "points.csv"]) == 0
    assert json.loads(capsys.readouterr().out) == {"points": 3}
    assert main(["count", "model", "points.csv", "points.csv"]) == 0
    assert json.loads(capsys.readouterr().out) == {"points": 6}
    assert main(["turn", "-h"]) == 0
    told = capsys.readouterr().out
    assert "Turn points a quarter round." in told and "--times" in told and "suffuse turn MODEL points.csv" in told


@pytest.mark.parametrize("words, said", [
    (["sampl"], "did you mean 'sample'?"),
    (["sample"], "required: MODEL"),
    (["sample", "nothing", "-o", "x"], "there is no model 'nothing'"),
    (["sample", "mode", "-o", "x"], "no model 'mode'"),
    (["sample", "model"], "say where with -o"),
    (["sample", "model", "--steps", "0", "-o", "x"], "at least 1"),
    (["sample", "model", "--steps", "-3", "-o", "x"], "at least 1"),
    (["sample", "model", "--steps", "many", "-o", "x"], "not a whole number"),
    (["sample", "model", "-n", "0", "-o", "x"], "at least 1"),
    (["sample", "model", "--seed", "-1", "-o", "x"], "at least 0"),
    (["sample", "model", "--guidance", "nan", "-o", "x"], "not a finite number"),
    (["sample", "model", "--guidance", "-2", "-o", "x"], "at least 0"),
    (["sample", "model", "--solver", "ddimm", "-o", "x"], "did you mean 'ddim'"),
    (["sample", "model", "--given", "label=7", "-o", "x"], "no label 7"),
    (["sample", "model", "--given", "colour=red", "-o", "x"], "no 'colour'"),
    (["sample", "model", "--given", "gone.csv", "-o", "x"], "no such file"),
    (["sample", "model", "--given", "label=0", "--given", "label=1", "-o", "x"], "twice"),
    (["sample", "model", "--given", "points.csv", "--given", "points.csv", "-o", "x"], "two files"),
    (["sample", "model", "--length", "3", "-o", "x"], "know no 'length'"),
    (["sample", "model", "stray", "-o", "x"], "'stray' is not understood"),
    (["sample", "model", "--device", "moon", "-o", "x"], "no device 'moon'"),
    (["sample", "model", "-o", "points.csv/x.csv"], "a file stands where a folder is needed"),
    (["edit", "model", "points.csv", "--strength", "1.5", "-o", "x"], "between 0 and 1"),
    (["edit", "model", "gone.csv", "-o", "x"], "there is no file"),
    (["edit", "model", "points.csv", "--odd_one", "3", "-o", "x"], "--odd-one is not understood"),
    (["edit", "model", "points.csv", "--given", "points.csv", "-o", "x"], "takes KEY=VALUE"),
    (["restore", "model", "points.csv", "--operator", "blur:1", "-o", "x"], "restored from tensors"),
    (["predict", "model", "points.csv", "colour"], "no field 'colour'"),
    (["train", "points.csv", "-o", "m", "--minutes", "0"], "above 0"),
    (["train", "points.csv", "-o", "m", "--minutes", "1", "--steps", "2"], "not allowed with"),
    (["train", "points.csv", "-o", "m", "--steps", "1", "--skipp", "2"], "did you mean 'skip'"),
    (["train", "points.csv", "-o", "m", "--steps", "1", "--tasks", "generat"], "did you mean 'generate'"),
    (["train", "gone.csv", "-o", "m"], "there is no file gone.csv"),
    (["train", "model", "-o", "m"], "cannot tell what kind of data"),
    (["train", "points.csv", "-o", "m", "--modality", "point"], "did you mean 'points'"),
    (["turn", "model"], "required: SOURCE"),
    (["turn", "model", "points.csv", "--times", "9"], "at most 4"),
    (["turn", "model", "points.csv", "--times", "x"], "not a whole number"),
    (["turn", "nothing", "points.csv"], "there is no model"),
    (["count", "model", "points.csv", "--odd"], "'--odd' is not understood"),
    (["turn"], "needs a model"),
    (["info", "gone"], "neither a model"),
    (["modalities", "all"], "not understood"),
    (["demo", "--only", "pictures"], "no room 'pictures'"),
    (["--nonsense"], "-h"),
])
def test_bad_input_gets_one_sentence(points, bad, words, said):
    assert said in bad(*words)


@pytest.mark.parametrize("text, said", [
    ("", "no points"), ("a,b,c", "line 1"), ("1,2,0\n1,nan,0", "line 2"), ("1,2", "line 1"), ("\udcff", "UTF-8"),
])
def test_bad_data_gets_one_sentence(points, bad, text, said):
    (points / "bad.csv").write_bytes(text.encode("utf-8", "surrogateescape"))
    assert said in bad("train", "bad.csv", "-o", "m", "--steps", "1")
    assert said in bad("sample", "model", "--given", "bad.csv", "-o", "x.csv")


@pytest.mark.parametrize("spoil, said", [
    (lambda m: (m / "config.json").unlink(), "no config.json"),
    (lambda m: (m / "config.json").write_text("{"), "not valid JSON"),
    (lambda m: (m / "config.json").write_text("[]"), "not a suffuse model"),
    (lambda m: (m / "config.json").write_text("[" * 100_000), "nested too deeply"),
    (lambda m: (m / "model.safetensors").unlink(), "there is no file"),
    (lambda m: (m / "model.safetensors").write_bytes(b"\x80\x04" + b"evil" * 99), "altered or damaged"),
    (lambda m: (m / "model.safetensors").write_bytes((m / "model.safetensors").read_bytes()[:-8]), "altered or damaged"),
    (lambda m: _change(m, "modality", "os.system"), "no modality 'os.system'"),
    (lambda m: _change(m, "format", 99), "format 99"),
    (lambda m: _change(m, "data", {"classes": 5}), "does not hold a working points model"),
    (lambda m: _change(m, "data", {"classes": -5}), "does not hold a working points model"),
    (lambda m: _change(m, "data", {}), "does not hold a working points model"),
    (lambda m: _change(m, "settings", 7), "working points model"),
])
def test_spoilt_models_get_one_sentence(points, bad, spoil, said):
    spoil(points / "model")
    assert said in bad("sample", "model", "-o", "x.csv")


def _change(model, key, value):
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | {key: value}))


@pytest.mark.parametrize("error, code, said", [
    (KeyboardInterrupt(), 130, "the same command starts again"),
    (OSError(errno.ENOSPC, "No space left on device", "made.csv"), 2, "the disk is full: made.csv"),
    (PermissionError(errno.EACCES, "Permission denied", "made.csv"), 2, "no permission for made.csv"),
    (MemoryError(), 2, "memory is not enough"),
    (RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 4 bytes"), 2, "memory is not enough"),
    (ModuleNotFoundError("No module named 'rdkit'", name="rdkit.Chem"), 2, "pip install 'suffuse[molecules]'"),
    (ZeroDivisionError("division by zero"), 1, "a mistake of suffuse, not yours: ZeroDivisionError"),
])
def test_what_goes_wrong_in_the_midst_is_told(points, capsys, monkeypatch, error, code, said):
    def fail(*args, **options):
        raise error

    monkeypatch.setattr(suffuse.Model, "sample", fail)
    assert main(["sample", "model", "-o", "made.csv"]) == code
    err = capsys.readouterr().err
    assert said in err and err.count("\n") == 1 and not (points / "made.csv").exists()


def test_stopping_a_training_says_how_to_go_on(points, capsys, monkeypatch):
    from suffuse import fit

    def stop(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(fit, "train", stop)
    assert main(["train", "points.csv", "-o", "my model", "--steps", "5"]) == 130
    assert "suffuse train points.csv -o 'my model' --steps 5 --resume" in capsys.readouterr().err


def test_every_command_has_help_with_an_example(capsys):
    for verb in VERBS:
        with pytest.raises(SystemExit) as end:
            main([verb, "--help"])
        assert end.value.code == 0
        assert EXAMPLES[verb] in capsys.readouterr().out
        assert parse(EXAMPLES[verb].split()[1:]).verb == verb  # and the example is understood


def test_help_and_import_load_nothing_heavy():
    code = (
        "import sys, suffuse, suffuse.cli\n"
        "try: suffuse.cli.main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'numpy', 'rich', 'pandas', 'PIL', 'accelerate'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


@pytest.mark.parametrize("word, value", [
    ("3", 3), ("0.5", 0.5), ("true", True), ("None", None), ("[1, 2]", [1, 2]), ('"3"', "3"), ("cat", "cat"),
    ("NaN", "NaN"), ("a b", "a b"), ("007", "007"), ("", ""),
])
def test_words_as_values(word, value):
    assert values.value(word) == value and type(values.value(word)) is type(value)


def test_given_words(tmp_path):
    path = str(tmp_path / "a=b.png")
    (tmp_path / "a=b.png").write_text("")
    assert values.given(None) is None
    assert values.given(["label=3", "caption=a=b"]) == {"label": 3, "caption": "a=b"}
    assert values.given([path]) == path
    assert values.given(["label=3", path]) == {"file": path, "label": 3}
    assert values.given(["C=O", "logp=2"], fields=["logp"]) == {"file": "C=O", "logp": 2}
    assert values.given(["the ___ of the king"], fields=["label"]) == "the ___ of the king"


def test_undeclared_options():
    assert values.extras(["--length", "20", "--fast", "--scale=-1.5", "--low", "-2"], "sample") == {
        "length": 20, "fast": True, "scale": -1.5, "low": -2,
    }
    for words in (["stray"], ["-x", "1"], ["--2x", "1"], ["--", "a"]):
        with pytest.raises(AskError, match="is not understood"):
            values.extras(words, "sample")
