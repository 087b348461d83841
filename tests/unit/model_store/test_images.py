"""Labelled images in folders and ZIPs: what is found, what is not, and reading them from several processes."""

import multiprocessing
import pickle
import zipfile
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from model_store.images import ImagesError, ImageSet, Sample, open_images

NAMES = ("goldfish/a.jpg", "goldfish/b.PNG", "n01910747/c.jpeg")
FLAT = ("n01443537_goldfish.JPEG", "n01910747-2.jpg", "n01443537.1.jpg")


def folder(root: Path, names: Iterable[str]) -> Path:
    """Files whose content is their name."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    return root


def archive(root: Path, names: Iterable[str]) -> Path:
    """The same in a ZIP."""
    path = root.with_suffix(".zip")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as opened:
        for name in names:
            opened.writestr(name, name)
    return path


Make = Callable[[Path, Iterable[str]], Path]
either = pytest.mark.parametrize("make", [folder, archive])


def labelled(images: ImageSet) -> list[tuple[str, str]]:
    """Name and class of each image."""
    return [(sample.name, images.classes[sample.label]) for sample in images.samples]


@either
def test_a_class_is_the_folders_name(make: Make, tmp_path: Path) -> None:
    """Classes and files come in order of name."""
    images = open_images(make(tmp_path / "set", reversed(NAMES)))
    assert images.classes == ("goldfish", "n01910747")
    assert labelled(images) == [(name, name.split("/")[0]) for name in NAMES]
    assert (images.counts(), images.unclassed) == ([2, 1], ())


@either
def test_a_class_is_the_innermost_folder(make: Make, tmp_path: Path) -> None:
    """What lies around it, such as `train/`, is nobody's class."""
    images = open_images(make(tmp_path / "set", (f"photos/train/{name}" for name in NAMES)))
    assert images.classes == ("goldfish", "n01910747")


@either
def test_an_image_is_read_as_it_is(make: Make, tmp_path: Path) -> None:
    """Byte by byte."""
    images = open_images(make(tmp_path / "set", NAMES))
    assert [images.read(sample).decode() for sample in images.samples] == list(NAMES)


@either
def test_hidden_and_other_files_are_no_images(make: Make, tmp_path: Path) -> None:
    """What archivers and file managers leave, and what does not end as an image does."""
    others = ("goldfish/.a.jpg", ".thumbs/d.jpg", "__MACOSX/goldfish/a.jpg", "goldfish/notes.txt", "labels")
    assert len(open_images(make(tmp_path / "set", NAMES + others)).samples) == len(NAMES)


@either
@pytest.mark.parametrize("below", ["", "val/"])
def test_without_class_folders_wordnet_ids_in_names_count(make: Make, tmp_path: Path, below: str) -> None:
    """As samples of ImageNet are often kept, also one folder down."""
    images = open_images(make(tmp_path / "set", (below + name for name in FLAT)))
    assert images.classes == ("n01443537", "n01910747")
    assert images.counts() == [2, 1]


@either
def test_folders_win_over_names(make: Make, tmp_path: Path) -> None:
    """Whoever sorted ImageNet's files into folders meant those."""
    images = open_images(make(tmp_path / "set", [f"animals/{FLAT[0]}", f"things/{FLAT[1]}"]))
    assert images.classes == ("animals", "things")


@either
def test_images_beside_the_class_folders_are_named_and_left_out(make: Make, tmp_path: Path) -> None:
    """Nothing tells what they show."""
    images = open_images(make(tmp_path / "set", (*NAMES, "cover.png")))
    assert (images.unclassed, len(images.samples)) == (("cover.png",), len(NAMES))
    assert "" not in images.classes


@either
def test_images_without_any_class_are_refused(make: Make, tmp_path: Path) -> None:
    """With the layout that would do; half a WordNet id is none."""
    with pytest.raises(ImagesError, match=r"have no class; they should lie under <WordNet id or label>/<file>"):
        open_images(make(tmp_path / "set", ["a.jpg", "n0144353_b.jpg", "n01443537b.jpg"]))


@either
def test_nothing_to_see_is_said(make: Make, tmp_path: Path) -> None:
    """With the layout that would do."""
    with pytest.raises(ImagesError, match=r"no images in .*; they should lie under"):
        open_images(make(tmp_path / "set", ["goldfish/notes.txt"]))


def test_a_path_that_leads_nowhere_is_named(tmp_path: Path) -> None:
    """The first thing that people get wrong."""
    with pytest.raises(ImagesError, match=r"nowhere is neither a folder nor a ZIP: it does not exist"):
        open_images(tmp_path / "nowhere")


def test_a_file_that_is_no_zip_is_named(tmp_path: Path) -> None:
    """Such as a tar."""
    (tmp_path / "set.tar").write_text("no ZIP")
    with pytest.raises(ImagesError, match=r"set\.tar is neither a folder nor a ZIP that can be read: "):
        open_images(tmp_path / "set.tar")


def test_links_to_folders_are_followed_and_circles_end(tmp_path: Path) -> None:
    """Subsets are often made of links."""
    folder(tmp_path / "whole", NAMES)
    subset = tmp_path / "subset"
    subset.mkdir()
    (subset / "goldfish").symlink_to(tmp_path / "whole/goldfish")
    (subset / "jellyfish").mkdir()
    (subset / "jellyfish/again").symlink_to(subset)
    assert [sample.name for sample in open_images(subset).samples] == ["goldfish/a.jpg", "goldfish/b.PNG"]


def test_damage_inside_a_zip_is_one_kind_of_error(tmp_path: Path) -> None:
    """Whatever zlib and zipfile call it."""
    path = archive(tmp_path / "set", [f"goldfish/{'x' * 100}.jpg", "jellyfish/b.jpg"])
    images = open_images(path)
    content = path.read_bytes()
    start = content.index(b".jpg") + 4
    for damage in (b"\xff" * 20, b"\x00" * 20):
        path.write_bytes(content[:start] + damage + content[start + 20 :])
        with pytest.raises(zipfile.BadZipFile):
            open_images(path).read(images.samples[0])
    with pytest.raises(zipfile.BadZipFile):
        open_images(path).read(Sample("gone.jpg", 0))


def test_an_encrypted_zip_is_one_kind_of_error(tmp_path: Path) -> None:
    """Its names can be read, its files cannot."""
    path = archive(tmp_path / "set", NAMES)
    content = bytearray(path.read_bytes())
    for mark, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = -1
        while (at := content.find(mark, at + 1)) >= 0:
            content[at + flags] |= 1
    path.write_bytes(content)
    images = open_images(path)
    with pytest.raises(zipfile.BadZipFile, match="encrypted"):
        images.read(images.samples[0])


def test_a_file_that_is_gone_is_an_os_error(tmp_path: Path) -> None:
    """Deleted between listing and reading."""
    images = open_images(folder(tmp_path / "set", NAMES))
    (tmp_path / "set" / NAMES[0]).unlink()
    with pytest.raises(OSError, match=r"a\.jpg"):
        images.read(images.samples[0])


@either
def test_a_set_survives_pickling(make: Make, tmp_path: Path) -> None:
    """Also once it was read, when an archive is open that cannot be pickled."""
    images = open_images(make(tmp_path / "set", NAMES))
    images.read(images.samples[0])
    copied = pickle.loads(pickle.dumps(images))
    assert copied == images
    assert copied.read(copied.samples[2]).decode() == NAMES[2]


@either
@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_processes_read_at_the_same_time(make: Make, tmp_path: Path, method: str) -> None:
    """Forked ones share no file position with their parent, which has the archive open."""
    images = open_images(make(tmp_path / "set", NAMES))
    images.read(images.samples[0])
    with multiprocessing.get_context(method).Pool(2) as pool:
        assert pool.map(images.read, images.samples * 20) == [name.encode() for name in NAMES] * 20


@either
def test_threads_read_at_the_same_time(make: Make, tmp_path: Path) -> None:
    """As evaluation does."""
    images = open_images(make(tmp_path / "set", NAMES))
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(images.read, images.samples * 50)) == [name.encode() for name in NAMES] * 50
