"""The command line as a person meets it: exit codes, one sentence on stderr, results on stdout."""

import errno
import io
import json
import signal
import subprocess
import sys
from contextlib import nullcontext

import nibabel as nib
import numpy as np
import pytest
import torch
import typer

from brainspade_cli import cli
from brainspade_cli.console import Reporter
from brainspade_cli.errors import PeerError, TrainingError
from brainspade_cli.nnunet.raw import RawLayout
from tests.phantoms import save, t1_of, tissue_phantom

COMMANDS = [
    ["prepare"],
    ["train-labels"],
    ["train-images"],
    ["sample"],
    ["export-nnunet"],
    ["evaluate"],
    ["preview"],
    ["audit"],
    ["weights"],
    ["weights", "info"],
    ["weights", "download"],
    ["weights", "push"],
    ["weights", "codes"],
    ["weights", "list"],
]


@pytest.fixture
def run(monkeypatch, command_line):
    """Run `brainspade ARGUMENTS` in this process; returns exit code, stdout, stderr."""
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setenv("COLUMNS", "200")
    return command_line


@pytest.fixture(scope="module")
def weights(slice_folder, tmp_path_factory):
    """Weights of the tiny preset, trained through the command line."""
    out = tmp_path_factory.mktemp("cli") / "weights"
    for command in (["train-labels"], ["train-images", "--perceptual", "self"]):
        arguments = [*command, slice_folder, "--out", out, "--preset", "tiny", "--quiet"]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", ["brainspade", *map(str, arguments)])
            with pytest.raises(SystemExit) as ended:
                cli.main()
        assert not ended.value.code
    return out


@pytest.fixture(scope="module")
def style(tmp_path_factory):
    return save(tmp_path_factory.mktemp("style") / "flair.nii.gz", t1_of(tissue_phantom()))


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_leads_with_an_example(run, command):
    code, out, _ = run(*command, "--help")
    assert code == 0
    assert out.index("Example:") < out.index("Options")


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_cuts_no_word_in_a_usual_terminal(run, monkeypatch, command):
    # Rich cuts a name that is wider than its column, and of a variable only the whole name is of use.
    monkeypatch.setenv("COLUMNS", "80")
    assert "…" not in run(*command, "--help")[1]


def test_help_loads_nothing_heavy():
    script = (
        "import sys; from brainspade_cli import cli; sys.argv = ['brainspade', 'sample', '--help']\n"
        "try: cli.main()\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'numpy', 'monai', 'nibabel', 'huggingface_hub'}\n"
        "sys.stderr.write(' '.join(sorted(heavy & set(sys.modules))))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert "--style" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--style", "nowhere.nii.gz"], "There is no style scan nowhere.nii.gz"),
        (["--style", "@t1", "--shard", "4/4"], "--shard 4/4 is no part of a run"),
        (["--style", "@t1", "--batch-size", "few"], "--batch-size takes auto or a whole number"),
    ],
)
def test_what_is_mistyped_is_told_before_anything_heavy_loads(arguments, said):
    script = (
        f"import sys; from brainspade_cli import cli; sys.argv = {['brainspade', 'sample', *arguments]}\n"
        "try: cli.main()\n"
        "except SystemExit as ended: print(ended.code, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "2 False\n"
    assert done.stderr.startswith(f"error: {said}")


def test_version_and_no_arguments(run):
    code, out, _ = run("--version")
    assert code == 0
    assert out.startswith("brainspade 0.")
    code, out, error = run()
    assert (code, error) == (2, "")
    assert "export-nnunet" in out


@pytest.mark.parametrize("value", ["1", "1.2"])
def test_a_variable_that_says_which_version_a_container_has_changes_nothing(run, monkeypatch, value):
    monkeypatch.setenv("BRAINSPADE_VERSION", value)
    code, out, _ = run("weights", "list")
    assert code == 0
    assert "brainspade-starter" in out


@pytest.mark.parametrize(
    ("variable", "value", "option", "typed", "key"),
    [
        ("N", "3", "--n", "5", "pairs"),
        ("OUT", "there", "--out", "here", "folder"),
        ("SHARD", "1/2", "--shard", "0/2", "shard"),
        ("PRECISION", "bf16", "--precision", "fp32", "precision"),
        ("SAMPLER", "ddim", "--sampler", "unipc", "sampler"),
        ("SAMPLE_STEPS", "7", "--steps", "5", "steps"),
    ],
)
def test_options_win_over_variables(run, monkeypatch, tmp_path, weights, style, variable, value, option, typed, key):
    monkeypatch.chdir(tmp_path)
    command = ["sample", "--style", style, "--weights", weights, "--dry-run", "--json"]
    monkeypatch.setenv(f"BRAINSPADE_{variable}", value)
    by_variable, by_option = json.loads(run(*command)[1])[key], json.loads(run(*command, option, typed)[1])[key]
    assert (str(by_variable), str(by_option)) == (value, typed)


@pytest.mark.parametrize(
    ("variable", "option", "value", "said"),
    [
        ("WEIGHTS", "--weights", "absent/weights", "absent/weights"),
        ("REVISION", "--revision", "v1", "revision v1 (--revision, BRAINSPADE_REVISION)"),
        ("DEVICE", "--device", "abacus", "no device 'abacus'"),
        ("OFFLINE", "--offline", "1", "org/name"),
    ],
)
def test_variables_mean_what_their_options_mean(run, monkeypatch, style, variable, option, value, said):
    weights = ["--weights", "org/name"] if variable == "OFFLINE" else []
    command = ["sample", "--style", style, "--dry-run", *weights]
    by_option = run(*command, *([option] if variable == "OFFLINE" else [option, value]))
    monkeypatch.setenv(f"BRAINSPADE_{variable}", value)
    by_variable = run(*command)
    assert by_option == by_variable
    assert by_option[0] == 2
    assert said in by_option[2]


def test_a_revision_for_all_runs_is_not_for_a_folder_that_is_typed(run, monkeypatch, weights):
    monkeypatch.setenv("BRAINSPADE_REVISION", "v1")
    assert run("weights", "info", "--weights", weights)[0] == 0
    code, _, said = run("weights", "info", "--weights", weights, "--revision", "v2")
    assert (code, "leave it out" in said) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["sample", "--no-such-option"], ["--no-such-option", "brainspade sample --help"]),
        (["sample", "--n", "few", "--style", "@t1"], ["--n", "integer", "brainspade sample --help"]),
        (["sample", "--n", 0, "--style", "@t1"], ["--n", "greater than or equal to 1"]),
        (["sample", "--n", 99999999999, "--style", "@t1", "--dry-run"], ["up to 10,000,000 pairs", "--seed"]),
        (["sample", "--out"], ["--out", "argument; brainspade sample --help"]),
        (["evaluate"], ["dataset", "brainspade evaluate --help"]),
        (["paint"], ["paint", "brainspade --help"]),
        (["sampel"], ["Did you mean 'sample'? ", "brainspade --help says"]),
        (["weights", "forge"], ["forge", "brainspade weights --help"]),
    ],
)
def test_what_is_mistyped_ends_with_one_sentence_and_2(run, arguments, words):
    code, out, error = run(*arguments)
    assert (code, out) == (2, "")
    _sentence(error, *words)


def _sentence(error, *words):
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    for word in words:
        assert word in error


def test_bad_styles_end_with_one_sentence_and_2(run, weights, tmp_path, style):
    """Every scan that cannot serve as a style is named, with the reason; nothing is written."""
    data = nib.load(style).get_fdata(dtype=np.float32)
    affine = nib.load(style).affine
    text = tmp_path / "text_flair.nii.gz"
    text.write_text("no scan")
    torn = tmp_path / "torn_flair.nii.gz"
    torn.write_bytes(style.read_bytes()[:-2000])
    holes = data.copy()
    holes[5, 5, 5] = np.nan
    made = {
        "four": np.stack([data, data], axis=-1),
        "zero": np.zeros_like(data),
        "nan": holes,
        "crumb": np.pad(np.full((4, 4, 4), 9, np.float32), 20),
    }
    reasons = {
        text: "not a NIfTI",
        torn: "ends early or is damaged",
        tmp_path / "absent_flair.nii.gz": "absent_flair.nii.gz",
    }
    for name, array in made.items():
        path = tmp_path / f"{name}_flair.nii.gz"
        nib.save(nib.Nifti1Image(array, affine), path)
        reasons[path] = {"four": "4 dimensions", "zero": "all zero", "nan": "NaN", "crumb": "no brain"}[name]
    for path, reason in reasons.items():
        code, out, error = run("sample", "--style", path, "--n", 1, "--out", tmp_path / "out", "--weights", weights)
        assert (code, out) == (2, ""), error
        _sentence(error, path.name, reason)
    assert not (tmp_path / "out").exists()


def test_other_bad_input_ends_with_one_sentence_and_2(run, weights, tmp_path, style):
    pickled = tmp_path / "model.pt"
    pickled.write_bytes(b"\x80\x04K\x01.")
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "thesis.txt").write_text("mine")
    base = ("sample", "--n", 1, "--out", tmp_path / "out")
    cases = [
        ((*base, "--style", f"t1x={style}", "--weights", weights), "t1x"),
        ((*base, "--style", style, "--weights", tmp_path / "nowhere"), "nowhere"),
        ((*base, "--style", style, "--weights", pickled), "pickle"),
        ((*base, "--weights", weights), "--style"),
        ((*base, "--style", "@swi", "--weights", weights), "swi"),
        ((*base, "--style", style, "--weights", weights, "--sampler", "magic"), "magic"),
        ((*base, "--style", style, "--weights", weights, "--batch-size", "many"), "--batch-size"),
        ((*base, "--style", style, "--weights", weights, "--shard", "3/3"), "3/3"),
        (("sample", "--n", 1, "--out", taken, "--style", style, "--weights", weights), "taken"),
        (("prepare", tmp_path / "nowhere", tmp_path / "slices"), "nowhere"),
        (("train-labels", tmp_path, "--out", tmp_path / "w"), "not a slice set"),
        (("train-labels", tmp_path, "--out", tmp_path / "w", "--preset", "huge"), "huge"),
        (("export-nnunet", tmp_path, "--id", 7, "--name", "x", "--out", tmp_path), str(tmp_path)),
    ]
    for arguments, word in cases:
        code, out, error = run(*arguments)
        assert (code, out) == (2, ""), (arguments, error)
        _sentence(error, word)
    assert (taken / "thesis.txt").read_text() == "mine"
    assert not (tmp_path / "out").exists()


def test_strict_refuses_thick_slices_by_name(run, weights, tmp_path):
    thick = save(tmp_path / "thick_flair.nii.gz", t1_of(tissue_phantom((3.0, 3.0, 6.0))), (3.0, 3.0, 6.0))
    sample = ("sample", "--style", thick, "--n", 1, "--out", tmp_path / "out", "--weights", weights)
    code, out, error = run(*sample, "--strict", "--quiet")
    assert (code, out) == (2, "")
    *said, last = error.strip().splitlines()
    assert last.startswith(f"error: --strict refuses {thick}:")
    assert sum("thick slices (6.0 mm)" in line for line in (*said, last)) == 1
    assert not (tmp_path / "out").exists()


def test_given_maps_must_sum_to_one(run, weights, tmp_path, style):
    maps = np.zeros((192, 256, 1, 8), np.float32)
    maps[..., 0] = 0.6
    labels = tmp_path / "labels"
    labels.mkdir()
    nib.save(nib.Nifti1Image(maps, np.eye(4)), labels / "half.nii.gz")
    code, _, error = run(
        "sample", "--style", style, "--n", 1, "--labels", labels, "--out", tmp_path / "out", "--weights", weights
    )
    assert code == 2
    _sentence(error, "half.nii.gz", "sum to 1")


def test_from_one_scan_to_a_checked_task(run, weights, tmp_path, style):
    out = tmp_path / "raw" / "Dataset501_brainspade"
    sample = ("sample", "--style", style, "--n", 5, "--tumour", "--out", out, "--weights", weights, "--steps", 2)
    code, stdout, error = run(*sample)
    assert code == 0, error
    assert stdout.rstrip().splitlines()[-1].startswith("brainspade export-nnunet") or "nnUNetv2" in stdout
    assert json.loads((out / "dataset.json").read_text())["numTraining"] == 5
    assert (out / "brainspade/preview.png").is_file()
    before = RawLayout(out, ".nii.gz").image_path("brainspade_0000003", 0).read_bytes()

    code, stdout, _ = run(*sample, "--json")
    assert code == 0
    assert json.loads(stdout)["made"] == 0
    assert RawLayout(out, ".nii.gz").image_path("brainspade_0000003", 0).read_bytes() == before

    code, stdout, error = run(
        "export-nnunet", out, "--id", 510, "--name", "tumour", "--task", "tumour", "--out", tmp_path / "raw", "--json"
    )
    assert code == 0, error
    assert json.loads(stdout)["cases"] == 5

    code, stdout, _ = run("weights", "info", "--weights", weights, "--json")
    assert code == 0
    assert json.loads(stdout)["preset"] == "tiny"
    code, stdout, _ = run("weights", "info", "--weights", weights)
    assert code == 0
    assert not set("{}[]'") & set(stdout), "written for people"
    described = [line.split(maxsplit=1) for line in stdout.splitlines()]
    assert ["preset", "tiny"] in described
    assert ["training_codes", "no"] in described
    assert ["revision", "none"] in described
    # Six evaluations of UniPC are as good as many for networks that have learnt nothing.
    assert ["fitted_samplers", "none"] in described
    installed = [line.split() for line in run("weights", "info")[1].splitlines()]
    place = installed.index(["fitted_samplers", "healthy", "steps", "4"])
    assert installed[place + 1] == ["tumour", "steps", "4"]
    assert ["modalities", ", ".join(json.loads((weights / "config.json").read_text())["modalities"])] in described


def test_scans_without_labels_are_no_reason_to_train(run, tmp_path):
    save(tmp_path / "scans/sub-01/t1.nii.gz", t1_of(tissue_phantom()))
    code, out, _ = run("prepare", tmp_path / "scans", tmp_path / "slices", "--no-register", "--quiet")
    assert code == 0
    assert "No scan to train on has labels" in out
    assert "brainspade train" not in out


def test_json_is_json_in_any_encoding(monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    data = {"folder": "/data/M\udcfcller \N{FIRE} \N{GREEK SMALL LETTER ALPHA}"}
    Reporter(as_json=True).result("", data)
    Reporter().result(data["folder"], data)
    stream.flush()
    first, second = stream.buffer.getvalue().decode("ascii").splitlines()
    assert json.loads(first) == data
    assert second.startswith("/data/M")


def test_an_interrupted_command_ends_with_130(run, monkeypatch, slice_folder, tmp_path):
    from brainspade_cli.training import labels

    def interrupted(*_arguments, **_options):
        raise KeyboardInterrupt

    monkeypatch.setattr(labels, "train_labels", interrupted)
    code, _, error = run("train-labels", slice_folder, "--out", tmp_path / "w", "--preset", "tiny")
    assert code == 130
    assert error == "interrupted; the last checkpoint is kept, and the same command goes on from it with --resume.\n"


def test_ctrl_c_that_typer_does_not_see_is_told_as_well(run, monkeypatch):
    def interrupted(**_):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "app", interrupted)
    told = "interrupted; what is finished is kept, and the same command goes on from where it was.\n"
    assert run("sample") == (130, "", told)


@pytest.mark.parametrize(
    "error", [MemoryError("/data/flair.nii.gz"), OSError(errno.ENOMEM, "Cannot allocate memory", "/data/flair.nii.gz")]
)
def test_memory_that_runs_out_is_one_sentence_and_1(run, monkeypatch, error):
    def greedy(**_):
        raise error

    monkeypatch.setattr(cli, "app", greedy)
    code, out, said = run("sample")
    assert (code, out) == (1, "")
    _sentence(said, "memory ran out", "/data/flair.nii.gz")
    assert said.endswith(".\n")


def test_memory_that_torch_does_not_get_is_told_as_well_and_its_other_errors_are_not_hidden(run, monkeypatch):
    monkeypatch.setattr(cli, "app", lambda **_: torch.empty(2**60, dtype=torch.uint8))
    code, out, said = run("sample")
    assert (code, out) == (1, "")
    _sentence(said, "memory ran out")
    for error in (
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("MPS backend out of memory (MPS allocated: 1.00 GB)."),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ):
        monkeypatch.setattr(cli, "app", lambda error=error, **_: (_ for _ in ()).throw(error))
        assert run("sample")[0] == 1
    monkeypatch.setattr(cli, "app", lambda **_: torch.zeros(2) @ torch.zeros(3))
    with pytest.raises(RuntimeError, match="size"):
        run("sample")


def test_a_file_that_ends_too_early_is_one_sentence_and_1(run, monkeypatch):
    def shortened(**_):
        raise typer.Abort from EOFError("No data left in file")

    monkeypatch.setattr(cli, "app", shortened)
    code, out, said = run("sample")
    assert (code, out) == (1, "")
    _sentence(said, "No data left in file")


def test_of_several_processes_one_says_what_was_mistyped(run, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(cli.os, "_exit", sys.exit)
    for rank, silent in (("0", False), ("1", True)):
        monkeypatch.setenv("RANK", rank)
        code, _, said = run("train-labels", "--stepps", 3)
        assert code == 2
        assert (said == "") is silent


@pytest.mark.parametrize(
    ("error", "rank", "said"),
    [
        (TrainingError("Why."), "0", "error: Why.\n"),
        (TrainingError("Why."), "1", "error: Why.\n"),
        (PeerError("Another one ended."), "0", "error: Another one ended.\n"),
        (PeerError("Another one ended."), "1", ""),
    ],
)
def test_of_the_processes_of_a_training_the_one_that_failed_says_why(
    run, monkeypatch, slice_folder, tmp_path, error, rank, said
):
    """A peer that lost the others is silent; one that failed itself waits whether torchrun ends it, and then speaks."""

    from brainspade_cli.training import labels

    def failing(*_arguments, **_options):
        raise error

    waited = []
    monkeypatch.setattr(labels, "train_labels", failing)
    monkeypatch.setattr(cli.time, "sleep", waited.append)
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(cli.os, "_exit", sys.exit)
    assert run("train-labels", slice_folder, "--out", tmp_path / "w") == (1, "", said)
    assert bool(waited) == (rank == "1" and said != "")


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize(("stopped_by", "expected"), [(None, 0), (KeyboardInterrupt, 130), (FileNotFoundError, 1)])
def test_one_of_several_processes_of_a_training_ends_at_once(
    run, monkeypatch, slice_folder, tmp_path, processes, stopped_by, expected
):
    from brainspade_cli.training import labels

    def trained(*_arguments, **_options):
        if stopped_by:
            raise stopped_by
        return {"next": "", "losses": {}}

    def left(code):
        ended.append(code)
        sys.exit(code)

    ended = []
    monkeypatch.setattr(labels, "train_labels", trained)
    monkeypatch.setenv("WORLD_SIZE", str(processes))
    monkeypatch.setattr(cli.os, "_exit", left)
    assert run("train-labels", slice_folder, "--out", tmp_path / "w")[0] == expected
    assert ended == [expected] * (processes - 1)


def test_what_a_library_says_with_its_exit_is_passed_on(run, monkeypatch):
    def says_why():
        raise SystemExit("The library says why.")

    monkeypatch.setattr(cli, "app", lambda **_: says_why())
    with pytest.raises(SystemExit, match="The library says why"):
        cli.main()


def test_a_peer_that_torchrun_ends_with_the_main_process_says_nothing(run, monkeypatch, slice_folder, tmp_path):
    from brainspade_cli.training import labels

    def failing(*_arguments, **_options):
        raise TrainingError("What stopped the main process as well.")

    def ended(_seconds):
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(labels, "train_labels", failing)
    monkeypatch.setattr(cli.time, "sleep", ended)
    monkeypatch.setattr(cli, "sigterm_interrupts", lambda _: nullcontext([]))
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(cli.os, "_exit", sys.exit)
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        assert run("train-labels", slice_folder, "--out", tmp_path / "w") == (1, "", "")
    finally:
        signal.signal(signal.SIGTERM, before)


def test_ctrl_c_while_python_takes_itself_down_changes_nothing():
    script = (
        "import atexit, os, signal, sys\n"
        "def late(): os.kill(os.getpid(), signal.SIGINT); sum(range(1000))\n"
        # Registered first, and so called last.
        "atexit.register(late)\n"
        "from brainspade_cli import cli\n"
        "sys.argv = ['brainspade', '--version']\n"
        "cli.main()"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("brainspade 0.")
