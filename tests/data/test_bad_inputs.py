"""Folders and lists as they come from phones, Windows, macOS and strangers: read rightly, or refused by name.

Each test changes one thing in a data set that is otherwise read, so that a message can only come from that thing.
"""

import os
import re
import shutil
import struct
import tempfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from ltlib import paths
from ltlib.data import decode as decoding
from ltlib.data.folder import load_folder
from ltlib.data.lists import load_lists, read_list
from ltlib.data.longtail import holdout
from ltlib.errors import InputError
from ltlib.experiments.experiment import Experiment
from ltlib.experiments.prepare import prepare
from ltlib.experiments.recipe import resolve

COMPOSED, DECOMPOSED = "caf\u00e9", "cafe\u0301"


def picture(path, shade=7, size=(8, 8), **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (shade, 0, 0)).save(path, **options)


@pytest.fixture
def birds(tmp_path):
    """Lists of two classes with three training images and one test image each; image i has the shade i."""
    root = tmp_path / "birds"
    for i, name in enumerate(["a/0", "a/1", "a/2", "b/3", "b/4", "b/5", "t/6", "t/7"]):
        picture(root / f"{name}.png", shade=i)
    (root / "train.txt").write_text("a/0.png 0\na/1.png 0\na/2.png 0\nb/3.png 1\nb/4.png 1\nb/5.png 1\n")
    (root / "test.txt").write_text("t/6.png 0\nt/7.png 1\n")
    return root


def shades(split) -> list[int]:
    return np.asarray(split.pixels)[:, 0, 0, 0].tolist()


def add(file, text):
    file.write_text(file.read_text() + text)


# ---- images that were left out of the counts


def test_images_in_sub_folders_of_a_class_are_read_and_counted_aloud(image_folder, capsys):
    root = image_folder((4, 4))
    for i in range(6):
        picture(root / "train" / "class0" / "2023" / "may" / f"{i}.png")
    assert load_folder(str(root)).train.counts(2).tolist() == [10, 4]
    assert "6 images are in sub-folders of their class and are read, such as train/class0/2023/may/0.png" in (
        capsys.readouterr().out
    )


@pytest.mark.parametrize("ending", [".jfif", ".jpe", ".jp2", ".pgm", ".avif", ".tga", ".JPG", ".Png"])
def test_every_ending_that_the_decoder_has_is_read(image_folder, ending):
    if ending not in decoding.endings() and ending == ".avif":
        pytest.skip("this build of Pillow has no AVIF")
    root = image_folder((4, 4))
    file = root / "train" / "class1" / f"x{ending}"
    Image.new("L" if ending == ".pgm" else "RGB", (8, 8), 200 if ending == ".pgm" else (200, 200, 200)).save(
        file, format={".jfif": "JPEG", ".jpe": "JPEG", ".jp2": "JPEG2000"}.get(ending)
    )
    data = load_folder(str(root))
    assert data.train.counts(2).tolist() == [4, 5]
    assert abs(int(data.train.pixels[8].mean()) - 200) <= 3


def test_files_that_are_not_read_are_counted_by_ending_and_folder(image_folder, capsys):
    root = image_folder((4, 4))
    for name in ("1.heic", "2.HEIC", "notes"):
        (root / "train" / "class0" / name).write_text("x")
    (root / "train" / "loose.png").write_text("not in a class")
    (root / "train" / "class0" / ".DS_Store").write_text("hidden files are nobody's images")
    load_folder(str(root))
    said = capsys.readouterr().out
    assert f"4 files of {root} are not read as images: 2 .heic in train/class0" in said
    assert "1 files without an ending in train/class0" in said
    assert "1 .png in train" in said
    assert "DS_Store" not in said


def test_a_class_that_holds_only_files_of_other_kinds_names_the_endings(image_folder):
    root = image_folder((4, 4))
    for split in ("train", "test"):
        (root / split / "phone").mkdir()
        (root / split / "phone" / "1.heic").write_text("x")
    with pytest.raises(InputError, match=r"class folder .*train/phone holds no image \(.*\.jfif.*\): fill or remove"):
        load_folder(str(root))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photographs_are_turned_as_the_camera_says(tmp_path, orientation):
    """Pillow writes the tag; where the bright corner must be afterwards follows from the standard (EXIF 2.3, 4.6.4)."""
    pixels = np.zeros((16, 16, 3), dtype=np.uint8)
    pixels[:8, :8] = 255  # the top left of what is stored
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(tmp_path / "x.png", exif=exif)
    corner = {1: (0, 0), 2: (0, 1), 3: (1, 1), 4: (1, 0), 5: (0, 0), 6: (0, 1), 7: (1, 1), 8: (1, 0)}[orientation]
    upright, _ = decoding.decode(str(tmp_path / "x.png"), 16, "keep")
    found = upright[0].reshape(2, 8, 2, 8).mean(axis=(1, 3))
    assert np.unravel_index(found.argmax(), (2, 2)) == corner
    as_stored, _ = decoding.decode(str(tmp_path / "x.png"), 16, "keep", upright=False)
    assert np.array_equal(as_stored, pixels.transpose(2, 0, 1)), "as torchvision and so the papers read it"


def test_a_turned_photograph_has_the_turned_size(image_folder):
    """A photograph of 12x8 pixels that is stored lying down is 8x12, and its short side is its width."""
    root = image_folder((4, 4))
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (12, 8)).save(root / "train" / "class1" / "003.png", exif=exif)
    with pytest.raises(InputError, match=r"003\.png is 8x12 but the first image is 8x8"):
        load_folder(str(root))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
@pytest.mark.parametrize("exif", [b"II*\0" + b"\xff" * 20, b"MM\0*\0\0\0\x08\xff\xff", b""])
def test_a_damaged_orientation_tag_turns_nothing(image_folder, exif):
    root = image_folder((4, 4))
    picture(root / "train" / "class1" / "003.png", shade=42, exif=b"Exif\0\0" + exif)
    assert shades(load_folder(str(root)).train)[7] == 42


# ---- one image, two places


@pytest.mark.parametrize("spelling", ["./a/0.png", "a//0.png", "b/../a/0.png", "ABSOLUTE"])
def test_another_spelling_of_a_training_image_in_the_test_list_is_refused(birds, spelling):
    spelling = spelling.replace("ABSOLUTE", str(birds / "a" / "0.png"))
    add(birds / "test.txt", f"{spelling} 0\n")
    message = f"1 images are in train.txt and in test.txt, such as a/0.png (the same file as {spelling})"
    with pytest.raises(InputError, match=re.escape(message)):
        load_lists("list", data_dir=str(birds))


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_a_link_to_a_training_image_is_not_a_test_image(birds, link):
    link(birds / "a" / "0.png", birds / "t" / "8.png")
    add(birds / "test.txt", "t/8.png 0\n")
    with pytest.raises(InputError, match="such as a/0.png .the same file as t/8.png"):
        load_lists("list", data_dir=str(birds))


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_a_link_to_a_training_image_is_not_a_test_image_of_a_folder_either(image_folder, link):
    root = image_folder((4, 4))
    link(root / "train" / "class0" / "001.png", root / "test" / "class0" / "x.png")
    with pytest.raises(InputError, match="1 images are in train and in test, such as train/class0/001.png"):
        load_folder(str(root))


@pytest.mark.parametrize("label", [0, 1])
def test_one_image_counts_once_and_has_one_label(birds, label):
    add(birds / "train.txt", f"./a/0.png {label}\n")
    with pytest.raises(InputError, match="a/0.png and ./a/0.png in train.txt are one and the same file|and a/0.png in"):
        load_lists("list", data_dir=str(birds))


def test_one_image_in_two_classes_of_a_folder_is_refused(image_folder):
    root = image_folder((4, 4))
    os.link(root / "train" / "class0" / "001.png", root / "train" / "class1" / "x.png")
    with pytest.raises(InputError, match=r"class0/001.png and train/class1/x.png in train are one and the same file"):
        load_folder(str(root))


def test_a_test_list_that_lacks_a_class_is_refused(birds):
    (birds / "test.txt").write_text("t/6.png 0\n")
    with pytest.raises(InputError, match=r"1 of 2 classes have no image in .*test.txt, the first: 1"):
        load_lists("list", data_dir=str(birds))


# ---- other people's eyes


@pytest.fixture
def private(tmp_path):
    picture(tmp_path / "private" / "passport.png", shade=99)
    return tmp_path / "private" / "passport.png"


@pytest.mark.parametrize("way", ["link", "folder link", "dots", "absolute"])
def test_images_outside_the_folder_need_a_list_that_the_user_named(birds, private, way, capsys):
    path = {"link": "a/9.png", "folder link": "p/passport.png", "dots": "../private/passport.png"}.get(way, private)
    if way == "link":
        os.symlink(private, birds / "a" / "9.png")
    elif way == "folder link":
        os.symlink(private.parent, birds / "p")
    add(birds / "train.txt", f"{path} 0\n")
    with pytest.raises(InputError, match=r"1 images are outside .*birds, by links or paths, such as .*: copy them"):
        load_lists("list", data_dir=str(birds))
    assert not list(paths.cache_root().rglob("*.npy"))
    data = load_lists("list", data_dir=str(birds), train_list="train.txt", test_list="test.txt")
    assert 99 in shades(data.train)
    assert f"note: 1 images are outside {birds}" in capsys.readouterr().out


@pytest.mark.parametrize("way", ["image", "class"])
def test_links_in_an_image_folder_do_not_lead_out_of_it(image_folder, private, way):
    root = image_folder((4, 4))
    if way == "image":
        os.symlink(private, root / "train" / "class0" / "x.png")
    else:
        for split, name in (("train", "one"), ("test", "two")):
            picture(private.parent / name / "1.png")
            os.symlink(private.parent / name, root / split / "linked")
    with pytest.raises(InputError, match="images are outside .*mine, by links or paths"):
        load_folder(str(root))


def test_a_folder_link_inside_a_class_is_not_followed_so_a_circle_ends(image_folder, capsys):
    root = image_folder((4, 4))
    os.symlink(root / "train", root / "train" / "class0" / "circle")
    assert load_folder(str(root)).train.counts(2).tolist() == [4, 4]
    assert "1 files without an ending in train/class0" in capsys.readouterr().out


def test_a_file_that_would_start_another_program_is_not_opened(birds, monkeypatch):
    """Encapsulated PostScript is decoded by Ghostscript; a list may name any file."""
    (birds / "a" / "0.png").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n")
    with pytest.raises(InputError, match=r"a/0.png cannot be decoded as an image \(no image format is recognised\)"):
        load_lists("list", data_dir=str(birds))


def test_a_pipe_in_place_of_an_image_is_a_sentence_and_no_wait(birds):
    (birds / "a" / "0.png").unlink()
    os.mkfifo(birds / "a" / "0.png")
    with pytest.raises(InputError, match="a/0.png is not a file"):
        load_lists("list", data_dir=str(birds))


def test_a_decompression_bomb_is_named(birds):
    """A PNG that declares 60,000 x 60,000 pixels in a few bytes."""
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    bomb = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    (birds / "b" / "4.png").write_bytes(bomb + b"\0\0\0\0IDAT" + struct.pack(">I", zlib.crc32(b"IDAT")))
    with pytest.raises(InputError, match=r"b/4.png cannot be decoded as an image \(.*decompression bomb"):
        load_lists("list", data_dir=str(birds))


# ---- names


def test_a_file_name_that_is_not_utf8_is_read(image_folder, capsys):
    root = image_folder((4, 4))
    folder = os.fsencode(root / "train" / "class0")
    os.rename(folder + b"/000.png", folder + b"/caf\xe9.png")
    data = load_folder(str(root))
    assert data.train.counts(2).tolist() == [4, 4]
    assert load_folder(str(root)).fingerprint == data.fingerprint
    os.truncate(folder + b"/caf\xe9.png", 30)
    with pytest.raises(InputError, match=re.escape("class0/caf\\xe9.png cannot be decoded")) as caught:
        load_folder(str(root))
    str(caught.value).encode("utf-8")


def test_a_class_name_that_is_not_utf8_is_named(image_folder):
    root = image_folder((4, 4))
    for split in ("train", "test"):
        os.rename(root / split / "class0", os.fsencode(root / split) + b"/caf\xe9")
    with pytest.raises(InputError, match="class folder .* holds bytes that are not UTF-8"):
        load_folder(str(root))


def test_one_class_name_in_two_spellings_of_its_accent_is_one_class(image_folder):
    root = image_folder((4, 4))
    (root / "train" / "class0").rename(root / "train" / COMPOSED)
    (root / "test" / "class0").rename(root / "test" / DECOMPOSED)
    assert load_folder(str(root)).class_names == (COMPOSED, "class1")


def test_two_folders_whose_names_look_alike_are_named(image_folder):
    root = image_folder((4, 4))
    (root / "train" / "class0").rename(root / "train" / COMPOSED)
    picture(root / "train" / DECOMPOSED / "1.png")
    with pytest.raises(InputError, match=f"two folders called {COMPOSED!r}, with the accents spelt in two ways"):
        load_folder(str(root))


def test_the_order_of_images_does_not_depend_on_the_spelling_of_accents(image_folder):
    """Composed, the name sorts after ``cafz``; decomposed and sorted as bytes it would come before."""
    root = image_folder((2, 2), name="nfc")
    other = image_folder((2, 2), name="nfd")
    for folder, accent in ((root, COMPOSED), (other, DECOMPOSED)):
        picture(folder / "train" / "class0" / f"{accent}.png", shade=200)
        picture(folder / "train" / "class0" / "cafz.png", shade=100)
    assert shades(load_folder(str(root)).train) == shades(load_folder(str(other)).train)


@pytest.mark.parametrize("form", [COMPOSED, DECOMPOSED])
def test_a_list_finds_files_whose_accents_the_disk_spells_otherwise(birds, form):
    picture(birds / form / f"{form}.png", shade=42)
    other = DECOMPOSED if form == COMPOSED else COMPOSED
    add(birds / "train.txt", f"{other}/{other}.png 1\n")
    assert 42 in shades(load_lists("list", data_dir=str(birds)).train)


@pytest.mark.parametrize(
    "line", ["a\\sub\\9.png 0", '"a/sub/9.png" 0', "'a/sub/9.png' 0", '"a\\sub\\9.png" 0', ".\\a\\sub\\9.png 0"]
)
def test_lists_made_on_windows_or_by_a_spreadsheet_are_read(birds, line):
    picture(birds / "a" / "sub" / "9.png", shade=42)
    add(birds / "train.txt", f"{line}\n")
    assert 42 in shades(load_lists("list", data_dir=str(birds)).train)


def test_a_name_that_really_holds_a_backslash_or_quotes_stays_as_it_is(birds):
    for shade, name in ((50, "a\\9.png"), (51, '"q".png')):
        picture(birds / name, shade=shade)
        add(birds / "train.txt", f"{name} 0\n")
    assert {50, 51} <= set(shades(load_lists("list", data_dir=str(birds)).train))


def test_rare_line_ends_belong_to_the_name(birds):
    name = "a/line\u2028end\x0c.png"
    picture(birds / name, shade=42)
    add(birds / "train.txt", f"{name} 0\n")
    assert 42 in shades(load_lists("list", data_dir=str(birds)).train)


@pytest.mark.parametrize("data_dir", ["~nosuchuser/birds", "x" * 300, "a\0b", "no/" * 2000])
def test_a_folder_that_cannot_exist_is_a_sentence(data_dir):
    for load in (load_folder, lambda where: load_lists("list", data_dir=where)):
        with pytest.raises(InputError, match=r"^data_dir .* is not a folder") as caught:
            load(data_dir)
        assert len(str(caught.value)) < 600


@pytest.mark.parametrize("given", ["~nosuchuser/l.txt", "x" * 300, "a\0b", "a"])
def test_a_list_that_cannot_exist_is_a_sentence(birds, given):
    with pytest.raises(InputError, match="train_list=.* is no file"):
        load_lists("list", data_dir=str(birds), train_list=given, test_list="test.txt")


# ---- contents


def test_colours_that_rgb_does_not_hold_are_named_with_their_mode(birds):
    lab = ImageCms.createProfile("LAB")
    turn = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), lab, "RGB", "LAB")
    ImageCms.applyTransform(Image.new("RGB", (8, 8), (9, 9, 9)), turn).save(birds / "b" / "3.tif")
    (birds / "b" / "3.png").unlink()
    (birds / "b" / "3.tif").rename(birds / "b" / "3.png")
    with pytest.raises(InputError, match=r"b/3.png cannot be decoded .*colour mode LAB is none that 8-bit RGB"):
        load_lists("list", data_dir=str(birds))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("b/4.png 99999999999999999999999", "Line 7 of .*train.txt has a label of 23 digits"),
        ("b/4.png " + "9" * 5000, "Line 7 of .*train.txt has a label of 5,000 digits"),
        ("b/9.png 999999999999999999", "classes have no image in .*train.txt, the first: 2, 3, 4, 5, 6"),
        ("b/4\0.png 1", "Line 7 of .*must read"),
        ("b/4.png \u0661", "Line 7 of .*must read"),
        ("b/4.png,1", "Line 7 of .*must read"),
        ("b/4.png\t1", "Line 7 of .*must read"),
        ("b/" + "x" * 5000 + ".png 1", "1 of 9 images are missing"),
        ("b 1", "birds/b is not a file"),
    ],
)
def test_bad_lines_are_named(birds, line, message):
    add(birds / "train.txt", f"{line}\n")
    with pytest.raises(InputError, match=message):
        load_lists("list", data_dir=str(birds))


def test_a_list_in_another_encoding_says_utf8(birds):
    (birds / "train.txt").write_bytes("a/0.png 0\né.png 1\n".encode("latin-1"))
    with pytest.raises(InputError, match="save it as UTF-8"):
        load_lists("list", data_dir=str(birds))


def test_a_video_called_train_is_not_read_into_memory(birds):
    with open(birds / "train.txt", "wb") as file:
        file.truncate(2**40)  # no block of it is on the disk
    with pytest.raises(InputError, match=r"train.txt is larger than 1\.1 GB: is it a list"):
        read_list(birds / "train.txt")


@pytest.mark.skipif(os.getuid() != 0, reason="root tries it as another user")
@pytest.mark.parametrize("what", ["train/class0", "train", "train/class0/000.png"])
def test_what_must_not_be_read_is_named(image_folder, what):
    with tempfile.TemporaryDirectory() as folder:  # pytest's own folders are closed to others
        os.chmod(folder, 0o755)
        root = shutil.copytree(image_folder((4, 4)), Path(folder) / "mine")
        (root / what).chmod(0)
        if not (child := os.fork()):
            os.setuid(65534)
            try:
                load_folder(str(root))
            except InputError as error:
                os._exit(3 if re.search(rf"{what} cannot be read .Permission denied.: make", str(error)) else 4)
            finally:
                os._exit(5)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3


# ---- held out


def test_a_share_that_holds_out_nothing_is_refused_and_classes_without_one_are_counted(image_folder, capsys):
    with pytest.raises(InputError, match=r"validation=0.1 holds out no image: the largest class has 4 training"):
        holdout(np.repeat([0, 1, 2], 4), 0.1)
    root = image_folder((12, 3))
    experiment = Experiment(
        dataset="folder", data_dir=str(root), imbalance_type="natural", profile="smoke", overrides="validation=0.1"
    )
    data = prepare(experiment, resolve(experiment)[0])
    assert data.validation.counts(2).tolist() == [1, 0]
    assert "note: validation=0.1 holds out no image of 1 of 2 classes" in capsys.readouterr().out
