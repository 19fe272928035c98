"""Names of results and maps."""

from pathlib import PurePosixPath, PureWindowsPath

import pytest

from udl_tf.inference.jobs import Options
from udl_tf.inference.names import result_names


def test_plain_names():
    def names(source, **options):
        result, maps = result_names(PurePosixPath(source), Options(**options), in_full=False)
        return [str(result), *map(str, maps.values())]

    assert names("sub/a.JPG") == ["sub/a.jpg"]
    assert names("a.gif") == names("a.dat") == names("a") == ["a.png"]
    assert names("a.b.png", format="webp") == ["a.b.webp"]
    assert names("a.png", uncertainty="npy", ensemble=True) == [
        "a.png", "a_theta.npy", "a_spread.npy", "a_total.npy"]  # fmt: skip


def test_paths_of_windows():
    source = PureWindowsPath(r"sub\a.gif")
    result, maps = result_names(source, Options(uncertainty="tiff"), in_full=True)
    assert str(result) == r"sub\a.gif.png"
    assert str(maps["theta"]) == r"sub\a.gif.png_theta.tiff"


@pytest.mark.parametrize("kind", ["same", "png", "jpg"])
def test_no_two_images_have_one_result_if_named_in_full(kind):
    names = [
        "a.gif",
        "a.gif.png",
        "a.gif.png.png",
        "a.png",
        "a.jpg",
        "a.jpg.png",
        "a.png.jpg",
        "a.png_theta.png",
        "a.png.png_theta.png",
        "a.png_theta.png.png",
        "A.PNG",
        "a.b.png",
    ]
    options = Options(format=kind, uncertainty="png")
    found = {name: result_names(PurePosixPath(name), options, in_full=True) for name in names}
    targets = {target for result, maps in found.values() for target in (result, *maps.values())}
    assert len(targets) == 2 * len(names)
    usual = {
        "same": ["a.gif.png", "a.png", "a.jpg", "A.PNG", "a.b.png"],
        "png": ["a.gif.png", "a.png", "a.jpg.png", "A.PNG.png", "a.b.png"],
        "jpg": ["a.gif.jpg", "a.png.jpg", "a.jpg", "A.PNG.jpg", "a.b.png.jpg"],
    }
    inputs = "a.gif", "a.png", "a.jpg", "A.PNG", "a.b.png"
    assert [str(found[name][0]) for name in inputs] == usual[kind]
