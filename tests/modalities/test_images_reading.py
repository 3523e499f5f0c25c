"""Reading pictures: every source gives the same pixels back, and bad input gets one clear sentence."""

import gzip
import io
import struct
import warnings
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

import suffuse
from suffuse.errors import AskError, DataError
from suffuse.modalities.images import Images
from suffuse.modalities.images import captions as words
from suffuse.modalities.images.decoding import fit, open_picture
from suffuse.modalities.images.reading import read_pictures

RANDOM = np.random.default_rng(0)
GREY = RANDOM.integers(0, 256, (6, 8, 8), dtype=np.uint8)
COLOUR = RANDOM.integers(0, 256, (6, 8, 10, 3), dtype=np.uint8)
LABELS = np.array([0, 1, 2, 0, 1, 2])


def folder_of(path, pictures, names):
    for picture, name in zip(pictures, names, strict=True):
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(path / name)
    return path


def pixels_of(source, **options):
    return [np.asarray(p) for p in read_pictures(source, **options).pixels]


# -- sources ----------------------------------------------------------------------------------------------------------
def test_folder_with_labels_grey_stays_grey(tmp_path):
    folder_of(tmp_path, GREY, ["b/0.png", "b/1.png", "a/2.png", "a/3.png", "b/4.png", "a/5.png"])
    modality, data = Images.read(tmp_path)
    assert modality.config["channels"] == 1 and modality.config["classes"] == ["a", "b"]
    found = read_pictures(tmp_path)
    assert found.labels == ["a"] * 3 + ["b"] * 3
    assert data.pixels.shape == (6, 1, 8, 8)
    assert np.array_equal(data.pixels[3, 0], GREY[0])
    batch = data.batch(torch.tensor([0, 3]))
    assert batch.x["label"].tolist() == [[0], [1]] and not batch.observed
    assert Images.recognises(tmp_path) > 0.5


def test_field_has_unit_deviation_and_inverts(tmp_path):
    from suffuse.modalities.images.dataset import from_field, to_field

    modality, data = Images.read(GREY)
    x = to_field(data.pixels, modality.config)
    assert abs(x.mean()) < 0.01 and abs(x.std() - 1) < 0.01
    assert torch.equal(from_field(x, modality.config), data.pixels)


def test_metadata_with_labels_for_some_and_captions(tmp_path):
    folder_of(tmp_path, COLOUR, [f"{k}.png" for k in range(6)])
    rows = ["file,label,caption"] + [f"{k}.png,{'cat' if k < 2 else ''},a red {'cat' if k < 4 else 'dog'}" for k in range(6)]
    (tmp_path / "metadata.csv").write_text("\n".join(rows))
    with pytest.warns(UserWarning, match="4 of 6 pictures have no label"):
        modality, data = Images.read(tmp_path)
    assert modality.config["classes"] == ["cat"] and modality.conditions == ["label", "caption"]
    batch = data.batch(torch.arange(6))
    assert batch.observed["label"][:, 0].tolist() == [True, True, False, False, False, False]
    assert words.decode(batch.x["caption"][5].tolist(), modality.config["vocabulary"]) == "a red dog"


def test_numpy_idx_parquet_and_datasets_agree(tmp_path):
    np.savez(tmp_path / "a.npz", images=GREY, labels=LABELS)
    np.save(tmp_path / "a.npy", GREY)
    idx = tmp_path / "idx"
    idx.mkdir()
    with gzip.open(idx / "train-images-idx3-ubyte.gz", "wb") as file:
        file.write(struct.pack(">HBB3I", 0, 8, 3, *GREY.shape) + GREY.tobytes())
    (idx / "train-labels-idx1-ubyte").write_bytes(struct.pack(">HBBI", 0, 8, 1, 6) + LABELS.astype(np.uint8).tobytes())
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["x", "y", "z"])})
    table = datasets.Dataset.from_dict({"image": [Image.fromarray(p) for p in GREY], "label": LABELS}, features=features)
    table.to_parquet(tmp_path / "a.parquet")
    numbers, letters = [str(k) for k in LABELS], ["xyz"[k] for k in LABELS]
    for source, labels in [
        (tmp_path / "a.npz", numbers), (tmp_path / "a.npy", [None] * 6), (idx, numbers), (tmp_path / "a.parquet", letters),
        (table, letters), (GREY, [None] * 6), ((torch.tensor(GREY), LABELS), numbers),
        ({"images": GREY, "labels": LABELS}, numbers),
        ([Image.fromarray(p) for p in GREY], [None] * 6),
    ]:  # fmt: skip
        found = read_pictures(source)
        assert np.array_equal(np.stack(list(found.pixels))[..., 0], GREY), source
        assert found.labels == labels
        assert Images.recognises(source) >= 0.5, source
    assert read_pictures(tmp_path / "a.parquet").classes == ["x", "y", "z"]
    assert read_pictures(tmp_path / "a.npz", classes=["p", "q", "r"]).labels[:3] == ["p", "q", "r"]


def test_number_types():
    assert np.array_equal(pixels_of(GREY / 255.0)[0], GREY[0][..., None])
    assert np.array_equal(pixels_of(GREY.astype(np.uint16) * 257)[0], GREY[0][..., None])
    assert np.array_equal(pixels_of(np.moveaxis(COLOUR, -1, 1))[2], COLOUR[2])
    deep = Image.fromarray(GREY[0].astype(np.uint16) * 257)
    assert np.array_equal(pixels_of([deep])[0][..., 0], GREY[0])


# -- rules ------------------------------------------------------------------------------------------------------------
def test_orientation_is_applied(tmp_path):
    image = Image.fromarray(COLOUR[0])
    exif = image.getexif()
    exif[0x0112] = 6  # turned by 90 degrees
    image.save(tmp_path / "turned.png", exif=exif)
    assert np.array_equal(open_picture(tmp_path / "turned.png"), np.rot90(COLOUR[0], -1))


def test_alpha_is_an_explicit_choice(tmp_path):
    see_through = np.dstack([COLOUR[0], np.full((8, 10), 255, np.uint8)])
    Image.fromarray(see_through).save(tmp_path / "opaque.png")
    assert open_picture(tmp_path / "opaque.png").shape == (8, 10, 3)
    see_through[:4, :, 3] = 0
    Image.fromarray(see_through).save(tmp_path / "holes.png")
    with pytest.raises(DataError, match="holes.png has transparent pixels; say alpha='keep'"):
        open_picture(tmp_path / "holes.png")
    assert (open_picture(tmp_path / "holes.png", alpha="#102030")[:4] == [16, 32, 48]).all()
    assert np.array_equal(open_picture(tmp_path / "holes.png", alpha="keep"), see_through)
    with pytest.raises(AskError, match="'mauve' is no colour"):
        open_picture(tmp_path / "holes.png", alpha="mauve")


def test_mixed_sizes_and_colours_are_told(tmp_path):
    folder_of(tmp_path, [GREY[0], COLOUR[1]], ["a.png", "b.png"])
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        modality, data = Images.read(tmp_path)
    assert modality.config["channels"] == 3 and modality.config["size"] == [8, 8]
    texts = " ".join(str(w.message) for w in told)
    assert "2 sizes" in texts and "1 pictures are in colour and 1 are grey" in texts
    assert np.array_equal(data.pixels[1].permute(1, 2, 0), COLOUR[1][:, 1:9])


def test_fit_covers_then_crops_the_middle():
    wide = np.zeros((10, 30, 1), np.uint8)
    wide[:, 10:20] = 200
    assert (fit(wide, (10, 10)) == 200).all()
    assert fit(wide, (20, 25)).shape == (20, 25, 1)


def test_captions_come_back():
    vocabulary = words.build_vocabulary(["Grinning face", "crying face", "red-hot face"])
    index = {piece: k for k, piece in enumerate(vocabulary)}
    for text in ("crying face", "red hot face", "grin"):  # 'grin' is spelt: it was never seen
        assert words.decode(words.encode(text, index, 16), vocabulary) == text
    assert words.encode("face", index, 4)[1:] == [0, 0, 0]


# -- refusals -----------------------------------------------------------------------------------------------------------
def png_of_size(width, height):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")


def test_huge_picture_is_refused_before_memory_is_taken(tmp_path):
    (tmp_path / "bomb.png").write_bytes(png_of_size(100_000, 100_000))
    with pytest.raises(DataError, match="bomb.png has 100000 x 100000 pixels"):
        open_picture(tmp_path / "bomb.png")


def test_truncated_picture_is_named_or_skipped(tmp_path):
    folder_of(tmp_path, GREY, [f"{k}.png" for k in range(6)])
    whole = (tmp_path / "3.png").read_bytes()
    (tmp_path / "3.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"3\.png is cut short.*skip_bad"):
        Images.read(tmp_path)
    with pytest.warns(UserWarning, match="1 broken pictures were left out"):
        _, data = Images.read(tmp_path, skip_bad=True)
    assert len(data) == 5


@pytest.mark.parametrize("damage", ["empty", "text", "head", "flip"])
def test_damaged_pictures_never_raise_anything_else(tmp_path, damage):
    good = io.BytesIO()
    Image.fromarray(COLOUR[0]).save(good, format="PNG")
    good = good.getvalue()
    generator = np.random.default_rng(1)
    for k in range(20):
        data = {"empty": b"", "text": b"hello", "head": good[: 8 + k], "flip": bytearray(good)}[damage]
        if damage == "flip":
            for place in generator.integers(8, len(good), 3):
                data[place] ^= int(generator.integers(1, 256))
        (tmp_path / "x.png").write_bytes(data)
        try:
            assert open_picture(tmp_path / "x.png", alpha="white").dtype == np.uint8
        except DataError as error:
            assert "x.png" in str(error) and "\n" not in str(error)


def test_arrays_that_cannot_be_pictures(tmp_path):
    with pytest.raises(DataError, match=r"not finite at \(0, 1, 2, 0\)"):
        bad = GREY / 255.0
        bad[0, 1, 2] = np.nan
        read_pictures(bad)
    with pytest.raises(DataError, match="negative"):
        read_pictures(GREY.astype(np.float32) - 300)
    with pytest.raises(DataError, match=r"shape \(3, 4\)"):
        read_pictures(np.zeros((3, 4)))
    with pytest.raises(DataError, match="one label a picture"):
        read_pictures((GREY, LABELS[:3]))
    np.save(tmp_path / "objects.npy", np.array([{"a": 1}], dtype=object))
    with pytest.raises(DataError, match="pickled"):
        read_pictures(tmp_path / "objects.npy")
    (tmp_path / "broken.npz").write_bytes(b"PK\x03\x04nonsense")
    with pytest.raises(DataError, match="broken.npz"):
        read_pictures(tmp_path / "broken.npz")


def test_damaged_idx(tmp_path):
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(struct.pack(">HBB3I", 0, 8, 3, 6, 8, 8) + GREY.tobytes()[:100])
    with pytest.raises(DataError, match="should hold 384 values"):
        read_pictures(path)
    path.write_bytes(struct.pack(">HBB3I", 0, 8, 3, 2**31, 2**31, 8))
    with pytest.raises(DataError, match="memory"):
        read_pictures(path)
    path.write_bytes(b"\x1f\x8b")
    with pytest.raises(DataError, match="no idx file"):
        read_pictures(path)


def test_empty_and_missing(tmp_path):
    with pytest.raises(DataError, match="holds no pictures"):
        Images.read(tmp_path)
    with pytest.raises(DataError, match="there is no file"):
        Images.read(tmp_path / "absent")
    (tmp_path / "metadata.csv").write_text("name,label\nx.png,a\n")
    with pytest.raises(DataError, match="column 'file'"):
        Images.read(tmp_path)
    (tmp_path / "metadata.csv").write_text("file,label\nx.png,a\n")
    with pytest.raises(DataError, match=r"there is no picture .*x\.png"):
        Images.read(tmp_path)


def test_unknown_label_in_more_data(tmp_path):
    modality, _ = Images.read((GREY, LABELS))
    assert modality.dataset((GREY, [0, 1, 2, -1, 0, 1])).labels.tolist() == [0, 1, 2, -1, 0, 1]
    with pytest.raises(DataError, match="'horse' is unknown"):
        modality.dataset((GREY, ["horse"] * 6))
    with pytest.raises(DataError, match="in colour"):
        modality.dataset(COLOUR)


def test_bad_options():
    with pytest.raises(DataError, match="size"):
        Images.read(GREY, size=0)
    with pytest.raises(AskError, match="backbone"):
        Images.read(GREY, backbone="magic")
    with pytest.raises(AskError, match="'wdiths' is no option"):
        Images.read(GREY, wdiths=[8])


def test_a_hugging_face_table_is_read_and_not_taken_for_an_open_data_set():
    datasets = pytest.importorskip("datasets")
    from suffuse.modalities.contract import is_dataset

    pictures = np.random.default_rng(0).integers(0, 256, (6, 8, 8), dtype=np.uint8)
    table = datasets.Dataset.from_dict(
        {"image": [Image.fromarray(p) for p in pictures], "label": [0, 1, 0, 1, 0, 1]},
        datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])}),
    )
    assert not is_dataset(table)
    modality, data = Images.read(table)
    assert is_dataset(data)
    assert suffuse.Model.new(modality).predict(table, "label").shape == (6, 1, 2)
