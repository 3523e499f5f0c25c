"""Sound files and folders: what is read, and what is refused in one sentence before memory is taken."""

import struct
import tracemalloc

import numpy as np
import pytest

from suffuse.errors import DataError
from suffuse.modalities.audio import reading, waves

soundfile = pytest.importorskip("soundfile")


def tone(seconds=0.3, rate=8000, hz=440.0, size=0.3):
    return (size * np.sin(2 * np.pi * hz * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


def put(path, wave, rate=8000, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(str(path), wave, rate, **options)
    return path


def refused(path, *words):
    with pytest.raises(DataError) as caught:
        waves.read_wave(path)
    sentence = str(caught.value)
    assert "\n" not in sentence and all(word in sentence for word in words), sentence


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg"])
def test_formats_come_back_as_they_were(tmp_path, suffix):
    wave = tone()
    found, rate = waves.read_wave(put(tmp_path / f"a.{suffix}", wave))
    assert rate == 8000 and found.dtype == np.float32 and found.shape == wave.shape
    assert np.abs(found - wave).max() < (0.05 if suffix == "ogg" else 2e-4)


def test_stereo_is_mixed_and_rates_are_changed(tmp_path):
    both = np.stack([tone(), 0 * tone()], axis=1)
    found, _ = waves.read_wave(put(tmp_path / "a.wav", both))
    assert np.abs(found - tone() / 2).max() < 1e-4
    high, rate = waves.read_wave(put(tmp_path / "b.wav", tone(rate=22050), 22050), 16000)
    middle = slice(400, -400)
    assert rate == 16000 and np.abs(high - tone(rate=16000)[: len(high)])[middle].max() < 2e-3


def test_bad_files_are_refused(tmp_path):
    refused(put(tmp_path / "silent.wav", np.zeros(4000)), "silent")
    refused(put(tmp_path / "empty.wav", np.zeros(0)), "no samples")
    refused(put(tmp_path / "one.wav", np.array([0.5])), "1 samples", "10 ms")
    refused(put(tmp_path / "wide.wav", np.random.default_rng(0).normal(0, 0.1, (800, 32))), "32 channels")
    hole = tone()
    hole[100] = np.nan
    refused(put(tmp_path / "nan.wav", hole, subtype="FLOAT"), "no number", "sample 100")
    whole = put(tmp_path / "cut.wav", tone()).read_bytes()
    (tmp_path / "cut.wav").write_bytes(whole[: len(whole) // 2])
    refused(tmp_path / "cut.wav", "truncated")
    whole = put(tmp_path / "cut.flac", tone(2.0) + 0.1 * np.random.default_rng(0).normal(size=16000)).read_bytes()
    (tmp_path / "cut.flac").write_bytes(whole[: len(whole) // 2])
    refused(tmp_path / "cut.flac", "cut.flac")
    (tmp_path / "text.wav").write_text("hello")
    refused(tmp_path / "text.wav", "WAV, FLAC or OGG")
    refused(tmp_path / "none.wav", "there is no file")


def test_a_rate_of_zero_is_refused(tmp_path):
    path = put(tmp_path / "a.wav", tone())
    content = bytearray(path.read_bytes())
    content[24:32] = struct.pack("<II", 0, 0)
    path.write_bytes(content)
    refused(path, "sampling rate")
    with pytest.raises(DataError, match="sampling rate of 0"):
        waves.check_wave(tone(), 0)


def test_a_day_of_sound_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "day.wav"
    size = 24 * 3600 * 8000 * 2
    with open(path, "wb") as file:
        file.write(b"RIFF" + struct.pack("<I", 36 + size) + b"WAVEfmt ")
        file.write(struct.pack("<IHHIIHH", 16, 1, 1, 8000, 16000, 2, 16) + b"data" + struct.pack("<I", size))
        file.truncate(44 + size)  # a sparse file: nothing is stored
    tracemalloc.start()
    refused(path, "24.0 hours", "cut it")
    assert tracemalloc.get_traced_memory()[1] < 5e6
    tracemalloc.stop()


def test_loudness_does_not_hear_silence_and_clipping_is_seen():
    wave = tone()
    padded = np.concatenate([wave, np.zeros(8000, np.float32)])
    assert waves.loudness(padded, 8000) == pytest.approx(0.3 / np.sqrt(2), rel=0.01)
    level, gain = waves.normalise(padded, 8000)
    assert waves.loudness(level, 8000) == pytest.approx(waves.LOUDNESS, rel=1e-3)
    assert gain == pytest.approx(waves.LOUDNESS / (0.3 / np.sqrt(2)), rel=0.01)
    assert waves.clipped(wave) < 0.01 < 0.2 < waves.clipped(np.clip(wave, -0.15, 0.15))


def test_layouts(tmp_path):
    put(tmp_path / "a" / "yes" / "1.wav", tone())
    put(tmp_path / "a" / "no" / "2.flac", tone())
    assert [(e.label, e.path.name) for e in reading.find(tmp_path / "a")] == [("no", "2.flac"), ("yes", "1.wav")]
    for name in ("7_ann_0", "7_bob_0", "3_ann_0", "3_bob_1"):
        put(tmp_path / "b" / f"{name}.wav", tone())
    assert {(e.label, e.speaker) for e in reading.find(tmp_path / "b")} == {
        (d, s) for d in "73" for s in ("ann", "bob")
    }
    put(tmp_path / "c" / "wavs" / "x1.wav", tone())
    (tmp_path / "c" / "metadata.csv").write_text('x1|He said "no", twice.\n')
    assert reading.find(tmp_path / "c")[0].text == 'He said "no", twice.'
    (tmp_path / "c" / "metadata.csv").write_text("file_name,label\nwavs/x1.wav,greeting\n")
    assert reading.find(tmp_path / "c")[0].label == "greeting"
    (tmp_path / "c" / "metadata.csv").write_text("x9|gone\n")
    with pytest.raises(DataError, match="line 1.*'x9'"):
        reading.find(tmp_path / "c")
    put(tmp_path / "d" / "clean" / "1.wav", tone())
    put(tmp_path / "d" / "noisy" / "1.wav", tone() + 0.1)
    clip = reading.load(tmp_path / "d")[0][0]
    assert clip.noisy.shape == clip.wave.shape and not np.allclose(clip.noisy, clip.wave)
    put(tmp_path / "d" / "clean" / "2.wav", tone())
    with pytest.raises(DataError, match="only one of"):
        reading.find(tmp_path / "d")


def test_other_rates_are_told_and_silent_clips_left_out(tmp_path):
    for number in range(3):
        put(tmp_path / f"{number}.wav", tone())
    put(tmp_path / "3.wav", tone(rate=16000), 16000)
    put(tmp_path / "4.wav", np.zeros(4000))
    with pytest.warns(UserWarning) as told:
        clips, rate = reading.load(tmp_path)
    told = " ".join(str(w.message) for w in told)
    assert rate == 8000 and len(clips) == 4 and "1 from 16000 Hz" in told and "1 silent" in told


def test_arrays():
    clips, rate = reading.load({"a": (tone(), 8000), "b": [(tone(), 8000), ((tone() * 32767).astype(np.int16), 8000)]})
    assert rate == 8000 and [c.label for c in clips] == ["a", "b", "b"]
    assert np.abs(clips[1].wave - clips[2].wave).max() < 1e-3
    for bad in ((tone(), 0), (tone(), "fast"), (np.zeros((3, 3, 3)), 8000), (np.full(800, np.nan), 8000)):
        with pytest.raises(DataError):
            reading.load([bad])
