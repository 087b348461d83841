"""Labelled images as people keep them: `<class>/<file>` in a folder or a ZIP, read where they lie.

The class is the folder's name, a WordNet id or a word. Used by training and by evaluation; needs neither torch nor an
image library. Nothing is decoded here: a file's name decides whether it is an image, and whoever decodes it finds out
whether it is a sound one.

Samples of ImageNet often lie in one folder, the class in the file's name (`n01443537_goldfish.JPEG`). So when the
folders tell less than two classes, a WordNet id at the start of the name is the class.
"""

import os
import re
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp"}
LAYOUT = "they should lie under <WordNet id or label>/<file>, or be called <WordNet id>_<name>"

_WNID = re.compile(r"n\d{8}(?=[_.-])")


class ImagesError(Exception):
    """There are no labelled images where they should be. One line: what is wrong and what the layout is."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One image file: its name below the root, and the index of its class in `ImageSet.classes`."""

    name: str
    label: int


@dataclass(frozen=True)
class ImageSet:
    """All images of a folder or ZIP, classes and files in order of name.

    May be read by several threads and processes at once, also by processes that were forked or got it pickled.
    """

    path: Path
    classes: tuple[str, ...]
    samples: tuple[Sample, ...]
    unclassed: tuple[str, ...] = ()
    """Names of images beside the class folders: nothing tells what they show, so they are not among the samples."""
    _archives: dict[int, zipfile.ZipFile] = field(default_factory=dict, repr=False, compare=False)

    def read(self, sample: Sample) -> bytes:
        """The file's bytes. Raises `OSError` or `zipfile.BadZipFile` when it cannot be read."""
        if self.path.is_dir():
            return (self.path / sample.name).read_bytes()
        try:
            return self._archive().read(sample.name)
        except (zlib.error, EOFError, RuntimeError, KeyError) as error:
            # Damaged data, an archive that was cut short, a password or an unknown method, a member that is gone.
            raise zipfile.BadZipFile(f"cannot be read from the archive: {error}") from error

    @property
    def name(self) -> str:
        """Of the folder, or of the ZIP without its ending."""
        path = self.path.absolute()
        return path.name if path.is_dir() else path.stem

    def counts(self) -> list[int]:
        """Images of each class."""
        found = Counter(sample.label for sample in self.samples)
        return [found[index] for index in range(len(self.classes))]

    def _archive(self) -> zipfile.ZipFile:
        """Opened anew in each process: forked ones would share one file position."""
        process = os.getpid()
        if process not in self._archives:
            self._archives[process] = zipfile.ZipFile(self.path)
        return self._archives[process]

    def __getstate__(self) -> dict[str, object]:
        return self.__dict__ | {"_archives": {}}


def open_images(path: Path) -> ImageSet:
    """List the images of a folder or ZIP. Raises `ImagesError`."""
    names = sorted(name for name in _names(path) if _is_image(name))
    if not names:
        raise ImagesError(f"no images in {path}; {LAYOUT}, e.g. .jpg or .png")
    found = _classes(names)
    classes = tuple(sorted(set(found.values()) - {""}))
    if not classes:
        raise ImagesError(f"the images in {path} have no class; {LAYOUT}")
    indices = {name: index for index, name in enumerate(classes)}
    samples = tuple(Sample(name, indices[found[name]]) for name in names if found[name])
    return ImageSet(path, classes, samples, tuple(name for name in names if not found[name]))


def _names(path: Path) -> list[str]:
    """Names of all files, relative, with forward slashes."""
    if path.is_dir():
        return [file.relative_to(path).as_posix() for file in _files(path)]
    try:
        with zipfile.ZipFile(path) as archive:
            return [entry.filename for entry in archive.infolist() if not entry.is_dir()]
    except FileNotFoundError as error:
        raise ImagesError(f"{path} is neither a folder nor a ZIP: it does not exist") from error
    except (zipfile.BadZipFile, OSError) as error:
        raise ImagesError(f"{path} is neither a folder nor a ZIP that can be read: {error}") from error


def _files(root: Path) -> Iterator[Path]:
    """All files below; links to folders are followed, for image sets are often made of them, but no folder twice."""
    walked: set[Path] = set()
    for folder, inner, files in os.walk(root, followlinks=True):
        inner.sort()
        if (real := Path(folder).resolve()) in walked:
            inner.clear()
            continue
        walked.add(real)
        yield from (Path(folder) / file for file in files)


def _is_image(name: str) -> bool:
    """By its ending; hidden files and archivers' own folders (`__MACOSX`) are nobody's images."""
    path = PurePosixPath(name)
    hidden = any(part.startswith((".", "__")) for part in path.parts)
    return path.suffix.lower() in SUFFIXES and not hidden


def _classes(names: Sequence[str]) -> Mapping[str, str]:
    """The class of each file, empty where nothing tells it.

    It is the innermost folder, so that an archive may hold `train/<class>/…`.
    """
    folders = {name: PurePosixPath(name).parent.name for name in names}
    if len(set(folders.values())) > 1:
        return folders
    return {name: _wnid(name) or folder for name, folder in folders.items()}


def _wnid(name: str) -> str:
    """The WordNet id that a file's name starts with; empty when there is none."""
    found = _WNID.match(PurePosixPath(name).name)
    return found[0] if found else ""
