"""Clips in and out: exact where the format is, frame rate kept, grey stays grey, refusals before memory is taken."""

import numpy as np
import pytest

pytest.importorskip("PIL")
pytest.importorskip("av")

from PIL import Image  # noqa: E402

from suffuse.errors import DataError  # noqa: E402
from suffuse.modalities.video.digits import bounce, moving_digits, shrink  # noqa: E402
from suffuse.modalities.video.files import Clip, as_clips, read_arrays, read_clip, write_clip  # noqa: E402

RNG = np.random.default_rng(0)


def sprite(colours=40, channels=3, frames=6, size=(20, 24)):
    palette = RNG.integers(0, 256, (colours, channels), dtype=np.uint8)
    return palette[RNG.integers(colours, size=(frames, *size))]


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".npz", ""])
@pytest.mark.parametrize("channels", [1, 3])
def test_lossless_round_trip(tmp_path, suffix, channels):
    clip = Clip(sprite(channels=channels), 10.0)
    again = read_clip(write_clip(clip, tmp_path / f"clip{suffix}"))
    assert again.fps == 10 and np.array_equal(again.frames, clip.frames)


def test_gif_keeps_held_frames(tmp_path):
    frames = sprite(frames=4)[[0, 1, 1, 1, 2, 3]]
    again = read_clip(write_clip(Clip(frames, 5.0), tmp_path / "held.gif"))
    assert again.fps == 5 and np.array_equal(again.frames, frames)


@pytest.mark.parametrize("size", [(32, 32), (33, 45), (160, 144)])
def test_mp4_round_trip_is_close_and_keeps_time(tmp_path, size):
    smooth = (
        np.add.outer(np.arange(size[0]), np.arange(size[1]))[None, ..., None] + 4 * np.arange(9)[:, None, None, None]
    )
    frames = np.concatenate([smooth % 200, (smooth * 2) % 200, 200 - smooth % 200], axis=-1).astype(np.uint8)
    frames = np.clip(frames, 20, 220)
    again = read_clip(write_clip(Clip(frames, 12.5), tmp_path / "a.mp4"))
    assert again.fps == pytest.approx(12.5) and again.frames.shape == frames.shape
    assert np.abs(again.frames.astype(int) - frames).mean() < 6
    assert len(read_clip(tmp_path / "a.mp4", start=2, count=3)) == 3


def test_arrays_and_labels(tmp_path):
    video = RNG.integers(0, 255, (5, 4, 8, 8, 3), dtype=np.uint8)
    np.savez(
        tmp_path / "v.npz",
        video=video,
        attributes=RNG.integers(0, 3, (5, 2)),
        attribute_names=["hair", "shoes"],
        fps=6.0,
    )
    clips = read_arrays(tmp_path / "v.npz")
    assert len(clips) == 5 and clips[0].fps == 6 and set(clips[0].labels) == {"hair", "shoes"}
    assert as_clips(video[..., 0] / 255, "a")[0].frames.shape == (4, 8, 8, 1)
    np.save(tmp_path / "v.npy", video[:, :, :, :, 0])
    assert len(read_arrays(tmp_path / "v.npy")) == 5


def test_refusals(tmp_path):
    with pytest.raises(DataError, match="no clip"):
        as_clips(np.zeros((3, 3)), "a")
    with pytest.raises(DataError, match="no frames"):
        as_clips(np.zeros((0, 8, 8)), "a")
    with pytest.raises(DataError, match="NaN"):
        as_clips(np.full((2, 4, 4), np.nan), "a")
    with pytest.raises(DataError, match="0..1"):
        as_clips(np.full((2, 4, 4), 7.5), "a")
    (tmp_path / "x.mp4").write_bytes(b"this is no film" * 9)
    with pytest.raises(DataError, match="broken or truncated container"):
        read_clip(tmp_path / "x.mp4")
    (tmp_path / "x.gif").write_bytes(b"GIF89a nothing")
    with pytest.raises(DataError, match="broken or truncated GIF"):
        read_clip(tmp_path / "x.gif")
    folder = tmp_path / "frames"
    folder.mkdir()
    with pytest.raises(DataError, match="no frames"):
        read_clip(folder)
    Image.new("RGB", (8, 8)).save(folder / "f1.png")
    Image.new("RGB", (8, 9)).save(folder / "f2.png")
    with pytest.raises(DataError, match="frame size changes from 8 x 8 to 8 x 9 at frame 1"):
        read_clip(folder)
    np.savez(tmp_path / "o.npz", video=np.array([{}], dtype=object))
    with pytest.raises(DataError, match="cannot be read as"):
        read_arrays(tmp_path / "o.npz")


def test_too_many_frames_are_refused_before_they_are_read(tmp_path):
    clip = Clip(np.zeros((40, 8, 8, 1), np.uint8) + np.arange(40, dtype=np.uint8)[:, None, None, None], 10.0)
    for name in ("a.mp4", "a.gif", "a.npz", "a"):
        write_clip(clip, tmp_path / name)
        with pytest.raises(DataError, match="40 frames, at most 30"):
            read_clip(tmp_path / name, most=30)
        assert len(read_clip(tmp_path / name, most=30, start=5, count=10)) == 10


def test_truncated_mp4(tmp_path):
    path = write_clip(Clip(sprite(frames=20, size=(64, 64)), 10.0), tmp_path / "a.mp4")
    path.write_bytes(path.read_bytes()[:-400])
    with pytest.raises(DataError, match="broken or truncated"):
        read_clip(path)


def test_digits_move_by_the_rule():
    path = bounce(200, 64, np.random.default_rng(1))
    step = np.linalg.norm(np.diff(path, axis=1), axis=-1)
    inside = ((path[:, :-1] > 0.1) & (path[:, :-1] < 0.9)).all(-1)
    assert np.allclose(step[inside], 0.1) and path.min() >= 0 and path.max() <= 1
    second = np.abs(np.diff(path, n=2, axis=1))
    straight = ((path[:, 1:-1] > 0.1) & (path[:, 1:-1] < 0.9)).all(-1)
    assert second[straight].max() < 1e-12 and second.max() > 0.05
    glyphs = shrink(RNG.integers(0, 255, (10, 28, 28), dtype=np.uint8), 14)
    film = moving_digits(glyphs, np.arange(10), 3, frames=5, size=32)
    row, column = film["path"][1, 0, 3]
    assert np.array_equal(film["video"][1, 3, row : row + 14, column : column + 14, 0], glyphs[film["chosen"][1, 0]])
    assert film["video"][1, 3].sum() == glyphs[film["chosen"][1, 0]].sum()
    assert np.array_equal(film["video"], moving_digits(glyphs, np.arange(10), 3, frames=5, size=32)["video"])
