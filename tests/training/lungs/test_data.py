import numpy as np
import pytest

from covidcxr.errors import ManifestError
from covidcxr.images.decode import read_image
from covidcxr.images.preprocessing import Preprocessing
from covidcxr.recipes.recipe import Augmentation
from covidcxr.training.batches import pipeline
from covidcxr.training.lungs.data import LungPair, MaskBatches, find_pairs, load_pairs, pairs_hash, split_by_hospital
from support.small_lungs import lungs, write_lungs

PREPROCESSING = Preprocessing(size=64, crop=1.0, equalize=True)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lungs")
    write_lungs(folder)
    return folder


def pair(name, patient, hospital, folder):
    return LungPair(image=folder / name, mask=folder / f"{name}.png", patient_id=patient, hospital=hospital)


def test_frontal_images_are_paired_with_their_masks(root):
    pairs = find_pairs(root)
    assert [p.image.name for p in pairs] == [f"{number:02}.jpg" for number in range(20)]
    assert all(p.mask.name == f"{p.image.name}.png" for p in pairs)
    assert {(p.patient_id, p.hospital) for p in pairs[:4]} == {("p0", "Brescia"), ("p1", "Madrid")}


def test_a_folder_without_masks_is_refused(root, tmp_path):
    (tmp_path / "covid-chestxray-dataset").symlink_to(root / "covid-chestxray-dataset")
    with pytest.raises(ManifestError, match="lung-masks-v7"):
        find_pairs(tmp_path)


@pytest.mark.parametrize("seed", range(5))
def test_no_patient_and_no_hospital_is_on_both_sides(seed, tmp_path):
    home = np.random.default_rng(seed).integers(0, 12, 40)  # of each patient; a few are elsewhere once, or nobody knows
    away = {3: "h11", 5: "", 42: "", 79: ""}
    pairs = [pair(f"{n}.jpg", f"p{n % 40}", away.get(n, f"h{home[n % 40]}"), tmp_path) for n in range(120)]
    known, unseen = split_by_hospital(pairs, seed=seed)
    assert sorted([*known, *unseen], key=pairs.index) == pairs
    assert unseen
    assert not {p.patient_id for p in known} & {p.patient_id for p in unseen}
    assert not {p.hospital for p in known} & {p.hospital for p in unseen}
    assert "" not in {p.hospital for p in unseen}


def test_a_fifth_of_the_hospitals_is_held_out_by_the_seed(tmp_path):
    pairs = [pair(f"{n}.jpg", f"p{n}", f"h{n % 20}", tmp_path) for n in range(60)]
    held = [{p.hospital for p in split_by_hospital(pairs, seed=seed)[1]} for seed in (1, 1, 2)]
    assert len(held[0]) == 4
    assert held[0] == held[1] != held[2]


def test_too_few_hospitals_are_refused(tmp_path):
    with pytest.raises(ManifestError, match=r"at least 5 hospitals.*Received 4"):
        split_by_hospital([pair(f"{n}.jpg", f"p{n}", f"h{n % 4}", tmp_path) for n in range(8)], seed=0)


def test_images_are_loaded_as_they_are_served_and_masks_alike(root):
    pairs = find_pairs(root)[:3]
    images, masks = load_pairs(pairs, PREPROCESSING)
    assert (images[1, ..., 0] == PREPROCESSING(read_image(pairs[1].image))).all()
    assert masks.shape == images.shape == (3, 64, 64, 1)
    assert set(np.unique(masks)) >= {0, 255}
    assert masks[0].mean() / 255 == pytest.approx(lungs().mean(), rel=0.03)
    assert masks[0, 32, 18] == 255, "inside the right lung, on the image's left"
    assert masks[0, 32, 32] == 0, "the spine"


def test_the_hash_tells_masks_apart(root, tmp_path):
    write_lungs(tmp_path)
    assert pairs_hash(find_pairs(root)) == pairs_hash(find_pairs(tmp_path))
    mask = find_pairs(tmp_path)[7].mask
    mask.write_bytes(find_pairs(tmp_path)[7].image.read_bytes())
    assert pairs_hash(find_pairs(root)) != pairs_hash(find_pairs(tmp_path))


def batches(augmentation, seed=0):
    """The mask is the image, so that whatever moves one alone shows."""
    spots = np.zeros((10, 64, 64, 1), np.uint8)
    for number in range(10):
        spots[number, 10 + 4 * number : 14 + 4 * number, 20:40] = 255
    return MaskBatches(spots, spots, batch_size=4, seed=seed, augmentation=augmentation)


MOVES = {"flip": True, "rotation": 20, "translation": 0.2, "zoom": 0.2}


def test_image_and_mask_move_together():
    made = batches(Augmentation(**MOVES))
    plain = batches(Augmentation())
    assert [len(made[number][0]) for number in range(len(made))] == [4, 4, 2]
    for number in range(len(made)):
        images, masks = made[number]
        assert (images == np.rint(masks * 255)).all()
        assert (images != plain[number][0]).any(axis=(1, 2, 3)).all(), "they do move"
        assert masks.dtype == np.float32


def test_greys_change_in_images_alone():
    for number in range(3):
        images, masks = batches(Augmentation(**MOVES, brightness=0.2, contrast=0.3))[number]
        moved, same = batches(Augmentation(**MOVES))[number]
        assert (masks == same).all()
        assert (images != moved).any(axis=(1, 2, 3)).all()


def test_a_batch_is_a_function_of_seed_epoch_and_number():
    first, again, other = (
        batches(Augmentation(**MOVES)),
        batches(Augmentation(**MOVES)),
        batches(Augmentation(**MOVES), 1),
    )
    first[0], first[2]
    assert all((a == b).all() for a, b in zip(first[1], again[1], strict=True))
    assert (first[1][0] != other[1][0]).any()
    again.epoch = 1
    assert (first[1][0] != again[1][0]).any()
    streamed = [tuple(part.numpy() for part in batch) for batch in pipeline(first)]
    assert all((a == b).all() for n, batch in enumerate(streamed) for a, b in zip(batch, first[n], strict=True))
    assert len(streamed) == 3
