"""What a mistake on the command line gives: one line that names it and the nearest right word, and exit code 2."""

import pytest

from tests.command_line import only_line, run

TRAIN = ["train", "monodepth2", "DATA", "--out", "RUN"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "no command given"),
        (["tran"], "there is no command 'tran'. Did you mean train?"),
        (["data"], "Choose one of check, pack."),
        (["data", "chek"], "Did you mean check?"),
        (["prior", "--out", "x"], "Choose one of build, select, cluster."),
        (["--steps", "3"], "give the command first"),
        (["train"], "name the recipe first"),
        (["train", "monodepth3", "DATA"], "Did you mean monodepth2?"),
        (["data", "pack", "smal-depth", "DATA"], "Did you mean small-depth?"),
        (["import", "monodepth3", "PATH", "--out", "MODEL"], "Did you mean monodepth2?"),
        (["benchmark", "smal-depth"], "Did you mean small-depth?"),
        (
            ["train", "monodepth2"],
            "train monodepth2: DATA and --out are missing. See egodepth train monodepth2 --help.",
        ),
        (["train", "fa-depth", "DATA", "--out", "RUN"], "--teacher is missing"),
        (["evaluate", "MODEL"], "evaluate: DATA and --protocol are missing"),
        (["predict", "MODEL", "--out", "DIR"], "no INPUT"),
        (["predict", "missing.mp4"], "missing.mp4: no such file"),
        (["predict", "s3://bucket/*.mp4"], "s3://bucket/*.mp4: is not on this machine. Add --engine ray"),
        (["predict", "MODEL", "street.jpg", "--out", "s3://bucket/depth"], "Add --engine ray"),
        (["predict", "*.jpg", "--address", "head:6379"], "Add --engine ray"),
        (["submit"], "name the command to run"),
        (["submit", "evaluate", "MODEL", "DATA", "--protocol", "eigen"], "train, or predict"),
        (["submit", "--partition", "gpu", *TRAIN, "--heigth", "64"], "Did you mean --height?"),
        (["submit", "--hours", "0", *TRAIN], "--hours 0: choose more than 0"),
        (["submit", "--cluster", "local", *TRAIN, "--devices", "2"], "starts one process"),
        (["submit", "--sbatch", "qos", *TRAIN], "--sbatch qos: give NAME=VALUE"),
        (["predict", "MODEL", "INPUT", "--ouit", "DIR"], "--ouit: there is no such option. Did you mean --out?"),
        ([*TRAIN, "--heigth", "64"], "--heigth: there is no such option. Did you mean --height?"),
        ([*TRAIN, "--split", "eigen"], "Did you mean --data.split?"),
        ([*TRAIN, "--data.also", "x"], "Did you mean --also?"),
        ([*TRAIN, "--optimiser.decay-epoch", "1"], "Did you mean --optimiser.decay-epochs?"),
        ([*TRAIN, "--mode", "sterio"], "--mode sterio: there is no such choice. Did you mean stereo?"),
        (["evaluate", "MODEL", "DATA", "--protocol", "eigem"], "Did you mean eigen?"),
        (["evaluate", "MODEL", "DATA", "--protocol", "xyz"], "Choose one of eigen, eigen-benchmark, "),
        (["predict", "MODEL", "INPUT", "--out", "DIR", "--format", "colour"], "Did you mean color?"),
        (["predict", "MODEL", "INPUT", "--out", "DIR", "--runtime", "opnvino"], "Did you mean openvino?"),
        ([*TRAIN, "--steps"], "--steps: its value is missing (a whole number)"),
        ([*TRAIN, "--steps", "abc"], "--steps abc: is not a whole number"),
        ([*TRAIN, "--steps=abc"], "--steps abc: is not a whole number"),
        ([*TRAIN, "--optimiser.learning-rate", "fast"], "--optimiser.learning-rate fast: is not a number"),
        ([*TRAIN, "--augmentation.crop", "3"], "--augmentation.crop 3: is not 2 whole numbers"),
        ([*TRAIN, "--optimiser.decay-epochs", "1.5", "2"], "1.5 2: is not a list of whole numbers"),
        ([*TRAIN, "more"], "more: no option or argument takes this"),
        ([*TRAIN, "--also", "a", "b", "c"], "repeat the option: --also a --also b --also c"),
        (["reproduce", "ROW", "--also", "a", "b"], "repeat the option: --also a --also b"),
        (["simulate", "OUT", "--frames", "2"], "frames is 2; choose 8 to 100000"),
        (["calibrat", "BOARDS"], "Did you mean calibrate?"),
        (["calibrate", "BOARDS", "--out", "camera.json"], "give --board 9x6"),
    ],
)
def test_a_mistake_is_one_line_that_names_it_and_what_to_do(words, said, capsys):
    assert run(*words) == 2
    printed = capsys.readouterr()
    assert said in only_line(printed.err)
    assert printed.err.count("\n") == 1
    assert printed.out == ""


@pytest.mark.parametrize(
    ("words", "option"),
    [
        ([*TRAIN, "--bidirectional.depth-weight", "7"], "--bidirectional.depth-weight"),
        ([*TRAIN, "--pyramid-loss.low.alpha", "7"], "--pyramid-loss.low.alpha"),
        ([*TRAIN, "--mode", "stereo", "--pose.encoder", "resnet50"], "--pose.encoder"),
        (["train", "rprdepth", "DATA", "--out", "RUN", "--ladder.keep", "7"], "--ladder.keep"),
        (
            ["data", "pack", "monodepth2", "DATA", "--out", "PACK", "--equivalent.momentum", "0.5"],
            "--equivalent.momentum",
        ),
    ],
)
def test_an_option_that_nothing_would_read_is_refused_by_name(words, option, capsys):
    assert run(*words) == 2
    assert f"{option}: this training does not read it" in only_line(capsys.readouterr().err)


def test_a_refusal_of_a_kind_that_is_not_known_is_still_one_line(monkeypatch, capsys):
    from contextlib import nullcontext

    from egodepth.cli import parsing

    monkeypatch.setattr(parsing, "_refusals", lambda handle: nullcontext())
    assert run(*TRAIN, "--steps", "abc") == 2
    assert "--steps" in only_line(capsys.readouterr().err)
