"""`brainspade audit` as a person runs it: planted copies are found, new people are not, and the report says it all."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from brainspade_cli.anatomy import NAMES
from brainspade_cli.auditing import audit as audits
from brainspade_cli.auditing.audit import AuditRequest, audit
from brainspade_cli.auditing.made_with import trained_people
from brainspade_cli.auditing.report_text import report_text
from brainspade_cli.console import Reporter
from brainspade_cli.nnunet.raw import RawLayout
from brainspade_cli.weights import open_bundle
from tests.auditing.folded import folded_dataset, folded_set, hidden, image_of, label_of, new_person

KINDS = ("mirrored left-right", "mirrored front-back", "shifted up to 8 px", "all of these together")
NEW = 6


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """New people, a copy of training person 2 under each disguise, and copies of a label and of an image alone."""
    copied = label_of(2, 3)
    copies = [hidden(copied, image_of(copied, 1), name, seed) for seed, name in enumerate(KINDS)]
    others = [new_person(number) for number in range(NEW, NEW + 2)]
    halves = [(copies[-1][0], others[0][1]), (others[1][0], copies[-1][1])]
    pairs = [*(new_person(number) for number in range(NEW)), *copies, *halves]
    return folded_dataset(tmp_path_factory.mktemp("mixed") / "Dataset501_mixed", pairs)


@pytest.fixture(scope="module")
def found(mixed, folded_folder):
    """The report on it."""
    return audit(AuditRequest(mixed, folded_folder), Reporter(quiet=True))


def cases(part):
    return {flag["case"] for flag in part["flagged"]}


def test_copies_are_found_whatever_their_disguise(found):
    assert found["verdict"] == "copies"
    copies = {f"case_{NEW + number}" for number in range(len(KINDS))}
    assert cases(found["labels"]) == copies | {f"case_{NEW + len(KINDS)}"}
    assert cases(found["images"]) == copies | {f"case_{NEW + len(KINDS) + 1}"}
    for part in ("labels", "images"):
        assert found[part]["false_alarm_rate"] == 0
        assert found[part]["false_alarms"]["of"] == "held-out people"
        for flag in found[part]["flagged"]:
            assert flag["training"]["scan"] == "sub-02"
            assert abs(flag["training"]["slice"] - 3) <= 1
            assert flag["score"] > found[part]["threshold"] > flag["held_out"]
    assert all(flag["channel"] == "t1" for flag in found["images"]["flagged"])
    scores = [flag["score"] for flag in found["labels"]["flagged"]]
    assert scores == sorted(scores, reverse=True)


def test_new_people_pass(report, tmp_path, folded_folder):
    made = folded_dataset(tmp_path / "Dataset501_new", [new_person(number) for number in range(NEW)])
    code, found = report(made, "--against", folded_folder)
    assert (code, found["verdict"]) == (0, "pass")
    assert found["labels"]["flagged"] == found["images"]["flagged"] == []
    scores = found["labels"]["scores"]
    assert scores["generated_training"]["highest"] < found["labels"]["threshold"]
    assert scores["generated_held_out"]["slices"] == NEW
    assert scores["people_training"]["slices"] == 10 * 6
    assert scores["held_out_training"]["slices"] == 3 * 6
    assert found["labels"]["training"] == {"people": 10, "slices": 60}
    assert found["labels"]["nearer_training"]["expected"] == 10 / 13


@pytest.mark.parametrize(
    ("trained", "said"),
    [
        (None, "Whom the weights learnt from is not on record here"),
        (("person-00", "somebody", "somebody else"), "2 of 3 people whom the weights learnt from are not in the slice"),
        (("person-00",), None),
        (("folded/person-00",), None),
    ],
)
def test_a_slice_set_that_lacks_training_people_is_told(tmp_path, folded_folder, monkeypatch, trained, said):
    made = folded_dataset(tmp_path / "Dataset501_new", [new_person(0)])
    monkeypatch.setattr(audits, "trained_people", lambda layout: trained)
    notes = audit(AuditRequest(made, folded_folder), Reporter(quiet=True))["notes"]
    assert [said in note for note in notes].count(True) == 1 if said else not any("learnt from" in n for n in notes)


def test_whom_installed_weights_learnt_from_is_known_of_what_they_made(tmp_path):
    bundle = open_bundle(None)
    layout = RawLayout(tmp_path, "")
    layout.provenance.mkdir()
    (layout.provenance / "run.json").write_text(json.dumps({"weights": {"sha256": dict(bundle.config.sha256)}}))
    assert trained_people(layout) == bundle.config.people.train
    (layout.provenance / "run.json").write_text(json.dumps({"weights": {"sha256": {"style_bank.safetensors": "0"}}}))
    assert trained_people(layout) is None
    (layout.provenance / "run.json").write_text("{}")
    assert trained_people(layout) is None


def test_files_tell_and_show_what_was_found(run, mixed, folded_folder):
    code, out, error = run("audit", mixed, "--against", folded_folder, "--quiet")
    assert code == 3
    assert "verdict: copies" in out
    assert "remove these before you hand the dataset on" in out.splitlines()[-1]
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    folder = mixed / "brainspade"
    written = json.loads((folder / "audit.json").read_text())
    assert str(mixed.parent) not in json.dumps(written)
    rows = [line.split("\t") for line in (folder / "audit-slices.tsv").read_text().splitlines()]
    assert len(rows) == 1 + 2 * (NEW + len(KINDS) + 2)
    marked = {(row[0], row[1]) for row in rows if row[-1] == "1"}
    assert {case for case, kind in marked if kind == "labels"} == cases(written["labels"])
    pictures = {flag["picture"] for part in ("labels", "images") for flag in written[part]["flagged"]}
    assert {path.name for path in (folder / "audit").iterdir()} == pictures


def test_a_picture_lays_the_training_slice_over_the_copy(mixed, found):
    names = {flag["case"]: flag["picture"] for flag in found["labels"]["flagged"]}
    for number in range(len(KINDS)):
        picture = np.asarray(Image.open(mixed / "brainspade" / "audit" / names[f"case_{NEW + number}"]))
        tiles = [picture[28:-6, 6 + place * 198 : 6 + place * 198 + 192] for place in range(3)]
        brain = tiles[0].any(axis=-1)
        agree = (tiles[0] == tiles[2]).all(axis=-1)[brain].mean()
        apart = (tiles[0] == tiles[1]).all(axis=-1)[brain].mean()
        assert agree > max(0.75, apart), KINDS[number]


def test_a_second_audit_takes_the_place_of_the_first(run, tmp_path, folded_folder):
    made = folded_dataset(tmp_path / "Dataset501_new", [new_person(0)])
    stale = made / "brainspade" / "audit" / "labels-case_0.png"
    stale.parent.mkdir()
    stale.write_bytes(b"old")
    code, out, error = run("audit", made, "--against", folded_folder, "--quiet")
    assert (code, error) == (0, "")
    assert "verdict: pass" in out
    assert out.splitlines()[-2].endswith("audit.json")
    assert out.splitlines()[-1].startswith("audit-slices.tsv beside it names people of the slice set: remove it")
    assert not stale.exists()


def test_without_held_out_people_the_training_people_are_the_yardstick(report, tmp_path, mixed):
    alone = folded_set(tmp_path / "slices", held_out=())
    code, found = report(mixed, "--against", alone)
    assert code == 3
    assert len(found["labels"]["flagged"]) == len(KINDS) + 1
    assert found["labels"]["held_out"] is None
    assert found["labels"]["nearer_training"] is None
    assert found["labels"]["false_alarms"]["of"] == "training people"
    assert any("Nobody is held out" in note for note in found["notes"])


def test_one_training_person_is_held_against_held_out_people(report, tmp_path, mixed):
    folder = folded_set(tmp_path / "slices", train=(2,))
    code, found = report(mixed, "--against", folder)
    assert code == 3
    assert len(found["labels"]["flagged"]) == len(KINDS) + 1
    assert found["labels"]["scores"]["people_training"] is None


def test_one_person_is_no_yardstick(run, tmp_path, mixed):
    folder = folded_set(tmp_path / "slices", train=(2,), held_out=())
    code, out, error = run("audit", mixed, "--against", folder)
    assert (code, out) == (2, "")
    assert "one person only" in error


def test_a_person_under_two_names_is_told(report, tmp_path, mixed, monkeypatch):
    folder = folded_set(tmp_path / "slices")
    twin = folder / "scans" / "sub-21"
    for name in ("labels.npy", "t1.npy"):
        (twin / name).write_bytes((folder / "scans" / "sub-03" / name).read_bytes())
    _, found = report(mixed, "--against", folder)
    assert any("person-03 and person-21" in note for note in found["notes"])
    assert found["labels"]["false_alarm_rate"] == pytest.approx(1 / 3)


def test_a_person_in_both_splits_does_not_excuse_his_copies(report, tmp_path):
    folder = folded_set(tmp_path / "slices", train=range(6))
    twin = folder / "scans" / "sub-21"
    for name in ("labels.npy", "t1.npy"):
        (twin / name).write_bytes((folder / "scans" / "sub-03" / name).read_bytes())
    label = label_of(3, 2)
    made = folded_dataset(tmp_path / "Dataset501_copy", [hidden(label, image_of(label, 1))])
    code, found = report(made, "--against", folder)
    assert code == 3
    assert cases(found["labels"]) == cases(found["images"]) == {"case_0"}
    assert found["labels"]["held_out"]["people"] == 2


@pytest.mark.parametrize("channel", ["T2/FLAIR", "../../../out", "t1\tx\n"])
def test_a_channel_may_have_any_name_and_nothing_is_written_elsewhere(report, tmp_path, folded_folder, channel):
    copied = label_of(2, 3)
    made = folded_dataset(tmp_path / "a" / "Dataset501_t2", [hidden(copied, image_of(copied, 1))], channel=channel)
    code, found = report(made, "--against", folded_folder)
    assert code == 3
    assert found["images"]["flagged"][0]["channel"] == channel
    assert {path.name for path in (made / "brainspade" / "audit").iterdir()} == {"01.png", "02.png"}
    assert not list(tmp_path.glob("*.png"))
    rows = (made / "brainspade" / "audit-slices.tsv").read_text().splitlines()
    assert [row.count("\t") for row in rows] == [6, 6, 6]


def test_a_channel_called_labels_is_refused(run, tmp_path, folded_folder):
    made = folded_dataset(tmp_path / "Dataset501_x", [new_person(0)], channel="labels")
    code, _, error = run("audit", made, "--against", folded_folder)
    assert code == 2
    assert "give it another name" in error


def test_a_plain_dataset_can_be_audited(report, tmp_path, folded_folder):
    made = folded_dataset(tmp_path / "Dataset501_plain", [new_person(0)])
    shutil.rmtree(made / "brainspade")
    assert report(made, "--against", folded_folder)[0] == 0
    assert (made / "brainspade" / "audit.json").is_file()


def test_labels_that_show_no_tissues_are_left_out(report, tmp_path, folded_folder):
    pairs = [((label > 2).astype(np.uint8), image) for label, image in map(new_person, range(2))]
    made = folded_dataset(tmp_path / "Dataset501_task", pairs, names=("background", "lesion"))
    code, found = report(made, "--against", folded_folder)
    assert code == 0
    assert found["labels"] is None
    assert found["images"]["looked_at"] == 2
    assert any("only the images" in note for note in found["notes"])
    assert (found["audited"], found["not_audited"]) == (["t1"], ["labels"])
    assert "no slice repeats anyone of the slice set (audited: t1; not audited: labels)" in report_text(found)


def test_labels_under_other_numbers_are_understood(report, tmp_path, folded_folder):
    copied = label_of(2, 3)
    names = ("background", "wm", "gm", "csf")
    ids = np.array([0, 3, 2, 1], np.uint8)
    made = folded_dataset(tmp_path / "Dataset501_tissues", [(ids[copied], image_of(copied, 1))], names=names)
    code, found = report(made, "--against", folded_folder)
    assert code == 3
    assert cases(found["labels"]) == {"case_0"}


def test_an_unknown_channel_is_held_against_all_images(report, tmp_path, folded_folder):
    copied = label_of(2, 3)
    made = folded_dataset(tmp_path / "Dataset501_t2", [hidden(copied, image_of(copied, 1))], channel="t2")
    code, found = report(made, "--against", folded_folder)
    assert code == 3
    assert found["images"]["flagged"][0]["training"]["what"] == "t1"


def test_slices_without_a_brain_repeat_nobody(report, tmp_path, folded_folder):
    empty = np.zeros((192, 256), np.int16)
    made = folded_dataset(tmp_path / "Dataset501_empty", [(empty.astype(np.uint8), empty), new_person(0)])
    code, found = report(made, "--against", folded_folder)
    assert code == 0
    assert any("without a brain (case_0)" in note for note in found["notes"])


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--against", "absent"], "Without --against, codes that weights carry stand for slices"),
        (["--against", "absent", "--weights", "other"], "leave one of them out"),
        (["--against", "absent", "--offline"], "--offline would do nothing here"),
        (["--against", "absent", "--revision", "v1"], "--revision would do nothing here"),
        (["--weights", "absent"], "no folder absent"),
    ],
)
def test_bad_arguments_end_in_one_sentence(run, mixed, arguments, sentence):
    code, out, error = run("audit", mixed, *arguments)
    assert (code, out) == (2, "")
    assert error.count("\n") == 1
    assert sentence in error


def test_variables_that_stand_for_all_runs_do_not_stand_in_the_way(run, monkeypatch, mixed):
    for name, value in (("WEIGHTS", "org/name"), ("REVISION", "v1"), ("OFFLINE", "1")):
        monkeypatch.setenv(f"BRAINSPADE_{name}", value)
    code, _, error = run("audit", mixed, "--against", "absent")
    assert (code, "absent is not a slice set" in error) == (2, True)


def test_an_absent_dataset_is_refused(run, tmp_path, folded_folder):
    assert run("audit", tmp_path / "absent", "--against", folded_folder)[0] == 2


def test_all_labels_of_the_table_have_a_brightness_of_their_own():
    from brainspade_cli.auditing.canonical import label_picture

    assert len(set(label_picture(np.arange(len(NAMES), dtype=np.uint8)).tolist())) >= len(NAMES) - 1
