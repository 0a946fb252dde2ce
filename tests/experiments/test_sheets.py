"""What a reader sees of a segmentation: right, mistaken, not there, and what does not count."""

import numpy as np
from sheets import BRAIN, INVENTED, MISSED, compared, painted

from brainspade_cli.anatomy import CSF, GM, LABELS
from brainspade_cli.nnunet.tasks import load_task

# Background, CSF, GM, WM; 4 is what the truth does not count.
TRUTH = np.array([[0, 0, 1, 1, 2, 2, 4]], np.uint8)
FOUND = np.array([[0, 3, 1, 0, 2, 1, 2]], np.uint8)


def test_labels_are_held_against_the_truth_pixel_by_pixel():
    brain = np.array([[False, True, True, True, True, True, True]])
    picture = compared(TRUTH, FOUND, brain, load_task("tissues"))
    expected = [(0, 0, 0), INVENTED, LABELS[CSF].colour, MISSED, LABELS[GM].colour, MISSED, BRAIN]
    assert [tuple(int(value) for value in pixel) for pixel in picture[0]] == expected


def test_one_label_lets_the_slice_shine_through_and_several_do_not():
    image = np.array([[-4.0, 0.0, 4.0]], np.float32)
    label = np.array([[0, 1, 1]], np.uint8)
    one, several = painted(image, label, load_task("tumour")), painted(image, label, load_task("tissues"))
    assert tuple(one[0, 0]) == tuple(several[0, 0]) == (0, 0, 0)
    assert tuple(one[0, 1]) != tuple(one[0, 2])
    assert tuple(several[0, 1]) == tuple(several[0, 2]) == LABELS[CSF].colour
