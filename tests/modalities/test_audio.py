"""The audio room from end to end, with tiny networks: what is given stays, what is asked is made, nonsense is refused."""

import warnings

import numpy as np
import pytest
import torch

import suffuse
from suffuse.errors import AskError, DataError
from suffuse.modalities.audio import Audio
from suffuse.modalities.audio.consistency import MelConsistent
from suffuse.modalities.audio.stft import Spectral

pytest.importorskip("soundfile")
RATE = 4000


def tone(hz, seconds=0.3, seed=0):
    noise = np.random.default_rng(seed).normal(0, 0.01, int(seconds * RATE))
    t = np.arange(len(noise)) / RATE
    return (0.3 * np.sin(2 * np.pi * hz * t) * np.hanning(len(t)) + noise).astype(np.float32)


def words():
    return {name: [(tone(hz, 0.2 + 0.02 * k, k), RATE) for k in range(6)] for name, hz in (("low", 300), ("high", 900))}


TINY = dict(window=128, hop=32, bands=16, width=16, depth=2, rank=4, cond=16)


@pytest.fixture(scope="module")
def speaker():
    """Whole labelled clips."""
    return suffuse.train(words(), "audio", steps=3, batch=4, read={**TINY, "patch": 2, "attention": "0"})


@pytest.fixture(scope="module")
def vocoder():
    """Windows of long clips, without labels."""
    clips = [(tone(200 + 50 * k, 1.0, k), RATE) for k in range(4)]
    return suffuse.train(clips, "audio", steps=3, batch=4, read={**TINY, "seconds": 0.25})


def test_what_is_learnt_from_the_data(speaker, vocoder):
    m = speaker.modality
    assert (m.rate, m.whole, m.classes) == (RATE, True, {"label": ["high", "low"]})
    assert m.length >= m.spectral.frames_of(int(0.3 * RATE)) and list(speaker.joint) == ["frames", "mel", "label"]
    assert not vocoder.modality.whole and list(vocoder.joint) == ["frames", "mel"]
    _, data = Audio.read(words(), **TINY)
    batch = data.batch(torch.arange(len(data)))
    there = batch.x["mel"][:, :, :20]
    assert batch.x["label"].shape == (12, 1) and not batch.exists
    assert there.mean().abs() < 0.3 and 0.5 < batch.x["frames"][:, :, :20].std() < 1.5


def test_windows_hold_what_the_whole_clip_holds(vocoder):
    clip = (tone(400, 0.6), RATE)
    data = vocoder.modality.dataset(clip)
    s = vocoder.modality.spectral
    whole, _ = s.encode(torch.from_numpy(data.clips[0].wave)[None])
    batch = data.batch(torch.arange(len(data)))
    for row, (_, start) in enumerate(data.places):
        n = min(data.length, whole.shape[-1] - start)
        assert torch.allclose(batch.x["frames"][row, :, :n], whole[0, :, start : start + n], atol=1e-3)
    short = vocoder.modality.dataset((tone(400, 0.1), RATE)).batch(torch.tensor([0]))
    assert short.exists["frames"].sum() == s.frames_of(int(0.1 * RATE))


def test_samples_do_not_depend_on_the_batch(speaker):
    many = speaker.sample(3, given={"label": "low"}, steps=3, seed=5)
    alone = speaker.sample(1, given={"label": "low"}, steps=3, seed=5, start=2)
    assert many[2][1] == RATE and many[2][0].dtype == np.float32
    assert many[2][0].shape == alone[0][0].shape and np.abs(many[2][0] - alone[0][0]).max() < 1e-3
    assert np.abs(many[1][0][:400] - many[2][0][:400]).max() > 1e-3


def test_a_saved_model_answers_the_same(speaker, tmp_path):
    before = speaker.sample(1, given={"label": "high"}, steps=2)[0][0]
    speaker.save(tmp_path / "m")
    after = suffuse.load(tmp_path / "m").sample(1, given={"label": "high"}, steps=2)[0][0]
    assert np.abs(before - after).max() < 1e-5


def test_vocoding_keeps_length_loudness_and_mel(vocoder):
    s = vocoder.modality.spectral
    quiet = 0.05 * tone(300, 0.37)
    made, rate = vocoder.vocode((quiet, RATE), steps=2)[0]
    assert rate == RATE and made.shape == quiet.shape
    assert np.sqrt((made**2).mean()) == pytest.approx(np.sqrt((quiet**2).mean()), rel=0.2)
    gain = 0.07 / 0.01
    mels = [s.mel(s.stft(torch.from_numpy(gain * v)[None])) for v in (quiet, made)]
    shuffled = mels[0].flip(-1)
    assert (mels[0] - mels[1]).abs().mean() < 0.35 * (mels[0] - shuffled).abs().mean()


def test_long_sounds_go_in_chunks(vocoder, monkeypatch):
    from suffuse.modalities.audio import vocoding

    wave = tone(300, 1.5)
    monkeypatch.setattr(vocoding, "CHUNK", 64)
    made = vocoder.vocode((wave, RATE), steps=2)[0][0]
    assert made.shape == wave.shape and np.isfinite(made).all()
    s = vocoder.modality.spectral
    far = [
        (s.mel(s.stft(torch.from_numpy(v)[None])) - s.mel(s.stft(torch.from_numpy(wave)[None])))
        for v in (made, 0 * wave)
    ]
    assert far[0].abs().mean() < 0.35 * far[1].abs().mean()
    steps = np.abs(np.diff(made))
    seams = [k * 64 * s.hop for k in range(1, len(wave) // (64 * s.hop))]
    assert max(steps[k - 2 : k + 2].max() for k in seams) <= steps.max()


def test_a_gap_is_filled_and_the_rest_is_untouched(vocoder):
    wave = tone(300, 0.6)[:2391]  # no multiple of the hop
    made = vocoder.fill((wave, RATE), "0.25-0.30", steps=2)[0][0]
    hole = slice(1000, 1200)
    clear = np.ones(len(wave), bool)
    clear[1000 - 21 : 1200 + 21] = False  # the cross-fade
    assert np.abs(made - wave)[clear].max() < 1e-6
    assert np.sqrt((made[hole] ** 2).mean()) > 0.02
    nan = wave.copy()
    nan[hole] = np.nan
    assert np.allclose(vocoder.sample(1, given=(nan, RATE), steps=2, seed=0)[0][0], made, atol=1e-6)


def test_low_frequencies_stay_when_bandwidth_is_extended(vocoder):
    wave = tone(300, 0.5)
    made = vocoder.extend((wave, RATE), 1000, steps=2)[0][0]
    s = vocoder.modality.spectral
    true, other = (s.stft(torch.from_numpy(v)[None]).abs()[0] for v in (wave, made))
    low = int(900 / (RATE / 128))
    assert (true - other)[:low].norm() < 0.02 * true[:low].norm()
    with pytest.raises(AskError, match="cutoff"):
        vocoder.extend((wave, RATE), steps=2)


def test_edit_changes_where_it_may(vocoder):
    wave = tone(300, 0.6)
    made = vocoder.edit((wave, RATE), 0.9, mask=(0.3, 0.4), steps=2)[0][0]
    s = vocoder.modality.spectral
    away = np.ones(len(wave), bool)
    away[1200 - s.n_fft : 1600 + s.n_fft] = False
    assert np.abs(made - wave)[away].max() < 1e-4 and np.abs(made - wave)[1200:1600].max() > 1e-3


def test_several_lengths_at_once(vocoder):
    sounds = [(tone(300, 0.3), RATE), (tone(500, 0.5), RATE)]
    made = vocoder.sample(2, given={"mel": sounds}, steps=2)
    assert [len(w) for w, _ in made] == [len(w) for w, _ in sounds]
    s = vocoder.modality.spectral
    for (wave, _), (true, _) in zip(made, sounds):  # (noise differs with the length, so phases do: the mel must not)
        mels = [s.mel(s.stft(torch.from_numpy(v)[None])) for v in (wave, true)]
        assert (mels[0] - mels[1]).abs().mean() < 0.35 * (mels[1] - mels[1].flip(-1)).abs().mean()


def test_voices_and_words(tmp_path):
    clips = words()
    for number, (label, items) in enumerate(clips.items()):
        for k, (wave, rate) in enumerate(items):
            import soundfile

            soundfile.write(str(tmp_path / f"{label}_{'ann' if k % 2 else 'bob'}_{10 * number + k}.wav"), wave, rate)
    model = suffuse.train(tmp_path, "audio", steps=2, batch=4, read=TINY)
    assert model.modality.classes == {"label": ["high", "low"], "speaker": ["ann", "bob"]}
    assert len(model.speak(label="low", speaker="bob", n=2, steps=2)) == 2
    assert model.recognise(clips["low"][0]) in ("high", "low")
    converted = model.convert(clips["low"][0], "ann", steps=2)[0][0]
    assert np.isfinite(converted).all()
    figures = model.evaluate(tmp_path, clips=2, steps=1)
    assert {"log_spectral_distance", "log_spectral_distance_griffin_lim", "label_recognised"} <= set(figures)
    with pytest.raises(AskError, match="no speaker 'eve'; this model knows ann, bob"):
        model.speak(speaker="eve")


def test_noise_is_taken_away_by_a_model_of_pairs(tmp_path):
    import soundfile

    for k in range(4):
        for part, noise in (("clean", 0.0), ("noisy", 0.1)):
            (tmp_path / part).mkdir(exist_ok=True)
            wave = tone(300, 0.4, k) + noise * np.random.default_rng(k).normal(size=int(0.4 * RATE))
            soundfile.write(str(tmp_path / part / f"{k}.wav"), wave, RATE)
    model = suffuse.train(tmp_path, "audio", steps=2, batch=4, read={**TINY, "seconds": 0.25})
    assert "noisy" in model.joint.processes
    wave = tone(300, 0.3) + 0.1 * np.random.default_rng(9).normal(size=int(0.3 * RATE)).astype(np.float32)
    assert model.denoise((wave, RATE), steps=2)[0][0].shape == wave.shape
    m = model.modality
    asked, given = (m.request(1, {k: (wave, RATE)}, index=torch.arange(1)) for k in ("noisy", "mel"))
    assert m.wrap(model.denoiser, asked) is model.denoiser and isinstance(m.wrap(model.denoiser, given), MelConsistent)


def test_the_wrapper_brings_frames_and_mel_together():
    s = Spectral(RATE, 128, 32, 16)
    true = s.stft(torch.from_numpy(tone(300))[None])
    mel = s.mel(true)
    weak = s.pack(0.1 * true)

    def denoiser(x, levels, context, targets=None):
        return {"frames": weak, "mel": mel}

    levels = {"frames": torch.full((1, 1, 1), 0.5), "mel": torch.zeros(1, 1, 1)}
    made = MelConsistent(denoiser, s)({}, levels, {})["frames"]
    gaps = [(s.mel(s.unpack(v)) - mel).abs().mean() for v in (weak, made)]
    assert gaps[1] < 0.2 * gaps[0]
    same = MelConsistent(denoiser, s)({}, {**levels, "mel": torch.full((1, 1, 1), 0.9)}, {})
    assert same["frames"] is weak


@pytest.mark.parametrize(
    "ask,words",
    [
        (dict(given={"label": "middle"}), "there is no label 'middle'; this model knows high, low"),
        (dict(given={"speaker": "ann"}), "knows no speakers"),
        (dict(given={"tempo": 3}), "'tempo' cannot be given"),
        (dict(tempo=3), "'tempo' cannot be asked"),
        (dict(seconds=1e9), "seconds must lie"),
        (dict(seconds=60), "at most 0.3"),
        (dict(given={"mel": np.zeros((80, 10))}), "has 80 bands, and this model takes 16"),
        (dict(given={"mel": np.full((16, 10), 1e4)}), "deviations"),
        (dict(given={"noisy": (tone(300), RATE)}), "clean/ and noisy/ pairs"),
        (dict(given=3.0), "sound is given as"),
    ],
)
def test_nonsense_is_refused_in_one_sentence(speaker, ask, words):
    with pytest.raises((AskError, DataError)) as caught:
        speaker.sample(1, steps=1, **ask)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_other_refusals(speaker, vocoder):
    with pytest.raises(DataError, match="silent"):
        vocoder.vocode((np.zeros(800), RATE))
    with pytest.raises(DataError, match="no number"):
        vocoder.vocode((np.full(800, np.nan), RATE))
    with pytest.raises(DataError, match="no known sample"):
        vocoder.sample(1, given=(np.full(800, np.nan), RATE))
    with pytest.raises(AskError, match="no gap"):
        vocoder.fill((tone(300), RATE))
    with pytest.raises(AskError, match="no stretch of time"):
        vocoder.fill((tone(300), RATE), "soon")
    with pytest.raises(AskError, match="pairs"):
        vocoder.denoise((tone(300), RATE))
    with pytest.raises(AskError, match="no option of the audio network"):
        suffuse.train(words(), "audio", steps=1, read={**TINY, "depht": 3})
    with pytest.raises(AskError, match="hop"):
        Audio.read(words(), window=128, hop=100)
    with pytest.raises(DataError, match="none of this model's"):
        speaker.modality.dataset({"loud": [(tone(300), RATE)]}).batch(torch.tensor([0]))


def test_recognised_and_written(tmp_path, vocoder):
    samples = [(tone(300), RATE), (tone(500), RATE)]
    written = vocoder.modality.write(samples, tmp_path / "out")
    assert [p.name for p in written] == ["0000.wav", "0001.wav"]
    assert Audio.recognises(tmp_path / "out") > 0.5 and Audio.recognises(written[0]) > 0.5
    assert Audio.recognises(samples[0]) > 0.5 and Audio.recognises([1.0, 2.0]) == 0 and Audio.recognises("words") == 0
    assert vocoder.modality.write(samples[:1], tmp_path / "one.flac")[0].name == "one.flac"
    assert vocoder.modality.show(samples, tmp_path / "p.png").stat().st_size > 1000
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        vocoder.modality.write([(3 * samples[0][0], RATE)], tmp_path / "loud.wav")
    again, _ = __import__("soundfile").read(str(tmp_path / "loud.wav"))
    assert np.abs(again).max() <= 1
