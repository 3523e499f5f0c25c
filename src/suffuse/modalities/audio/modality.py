"""Speech and other sound as frames of a compressed complex STFT beside their log-mel spectrogram."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from torch import Tensor, nn

from suffuse.diffusion.process import Categorical, Gaussian, Joint
from suffuse.diffusion.random import Random
from suffuse.diffusion.state import Batch, Start, Task
from suffuse.errors import AskError, DataError
from suffuse.modalities.audio import asking, levels, reading, speaking, waves
from suffuse.modalities.audio.data import Clips, measure
from suffuse.modalities.audio.reading import Clip
from suffuse.modalities.audio.stft import Spectral
from suffuse.modalities.contract import SAMPLING, Modality

SILENCE = 10 ** (-50 / 20)
"""Whole clips are cut after their last frame that is louder than this, as a share of the loudest frame."""


class Audio(Modality):
    """Fields `frames` (B, 2F, T) and `mel` (B, M, T), Gaussian; `label` and `speaker` (B, 1) where the data has them; `noisy`
    (B, 2F, T) where it comes in pairs; `text` (B, T), what is spoken in each frame, where clips come with transcripts.

    Config (plain JSON): spectral (see `stft.Spectral`: rate, window, mel settings, statistics), length (frames of a training
    example), whole (examples are whole clips followed by silence, else windows of longer ones), labels, speakers, paired,
    text (symbols and the durations they are given, see `aligning.duration_model`), mel_weight (of the loss), network (see
    `network.AudioNetwork`).
    """

    name = "audio"
    summary = "Speech and sound: by label and voice, from mel spectrograms, gaps, bandwidth, noise, other voices"
    extra = "audio"
    numbered = True

    def __init__(self, **config: Any):
        super().__init__(**config)
        self.spectral = Spectral(**config["spectral"])
        self.length, self.whole = int(config["length"]), bool(config["whole"])
        self.classes = {n: list(config.get(f"{n}s") or []) for n in ("label", "speaker")}
        self.classes = {n: known for n, known in self.classes.items() if known}
        self.paired = bool(config.get("paired"))
        self.text = config.get("text") or None

    @property
    def rate(self) -> int:
        """Samples a second."""
        return self.spectral.rate

    # -- reading ------------------------------------------------------------------------------------------------
    @classmethod
    def recognises(cls, source: Any) -> float:
        if isinstance(source, (str, Path)):
            path = Path(source).expanduser()
            if path.is_file():
                return 0.9 if path.suffix.lower() in waves.SUFFIXES else 0.0
            if path.is_dir():
                return 0.9 if next((p for p in path.rglob("*") if p.suffix.lower() in waves.SUFFIXES), None) else 0.0
            return 0.0
        try:
            entries, _ = reading.arrays_of(source)
        except (DataError, TypeError, ValueError):
            return 0.0
        return 0.7 if entries else 0.0

    @classmethod
    def read(
        cls,
        source: Any,
        *,
        rate: int | None = None,
        window: int | None = None,
        hop: int | None = None,
        bands: int | None = None,
        seconds: float | None = None,
        whole: bool | None = None,
        text: bool | None = None,
        phonemes: str | None = None,
        mel_weight: float | None = None,
        **network: Any,
    ) -> tuple[Audio, Clips]:
        """Learn rate, statistics, labels and voices from training clips.

        rate: Hz (default: the files' commonest). window, hop: samples of the STFT (default: about 32 and 8 ms). bands: of the mel
        spectrogram. seconds: of a training example (default: 1). whole: examples are whole clips (default: where the clips are
        labelled and nearly all fit); longer ones are left out, with a warning. text: whether transcripts are learnt (default:
        where every clip has one). phonemes: transcripts, and texts to speak, go through espeak-ng with this voice, such as en-us.
        mel_weight: of the loss, the frames' being 1 (default: 2.5 where there are labels or texts,
        from which the mel has to be found, else 0.3). network: width, depth, ... Raises DataError.
        """
        clips, rate = reading.load(source, rate)
        noises = reading.noises(source, rate)
        window = window or 1 << max(6, round(np.log2(0.032 * rate)))
        bands = bands or (80 if rate >= 12_000 else 40)
        try:
            spectral = Spectral(rate, int(window), int(hop or window // 4), int(bands))
        except ValueError as error:
            raise AskError(str(error)) from None
        durations = np.array([len(c.wave) / rate for c in clips])
        names = {n: sorted({v for c in clips if (v := getattr(c, n)) is not None}) for n in ("label", "speaker")}
        if whole is None:
            whole = bool(names["label"]) and bool(np.quantile(durations, 0.95) <= (seconds or 2.0))
        if seconds is None:
            seconds = float(min(2.0, np.quantile(durations, 0.99) * 1.02)) if whole else 1.0
        if not 0.05 <= seconds <= 60:
            raise AskError(f"seconds must lie between 0.05 and 60, not {seconds:g}")
        length = 8 * -(-spectral.frames_of(int(seconds * rate)) // 8)
        spectral = measure(clips, spectral)
        if text is None:
            text = all(c.text for c in clips) and not whole
        if text and whole:
            raise AskError("whole clips are known by their labels; leave out whole=True to learn from transcripts")
        config = {
            "spectral": spectral.settings(),
            "length": length,
            "whole": whole,
            "labels": names["label"],
            "speakers": names["speaker"],
            "paired": bool(noises) or all(c.noisy is not None for c in clips),
            "text": speaking.learn(clips, spectral, phonemes) if text else None,
            "network": network,
        }
        if mel_weight is not None:
            if not isinstance(mel_weight, (int, float)) or not 0 < mel_weight <= 100:
                raise AskError(f"mel_weight must lie between 0 and 100, not {mel_weight!r}")
            config["mel_weight"] = float(mel_weight)
        made = cls(**config)
        return made, made._clips(clips, noises)

    def dataset(self, source: Any, **options: Any) -> Clips:
        """More clips, at this model's rate and settings."""
        clips, _ = reading.load(source, self.rate)
        if self.text:
            speaking.spell(clips, self.text.get("phonemes"))
            speaking.place(clips, self.spectral, self.text["symbols"])
        return self._clips(clips, reading.noises(source, self.rate) if self.paired else [])

    def _clips(self, clips: list[Clip], noises: Sequence[np.ndarray] = ()) -> Clips:
        if self.whole:
            room = (self.length - 1) * self.spectral.hop
            long = [c for c in clips if len(c.wave) > room]
            if len(long) == len(clips):
                raise DataError(f"every clip is longer than the {room / self.rate:.2f} s this model takes")
            if long:
                asking.tell(
                    f"{len(long)} of {len(clips)} clips last longer than {room / self.rate:.2f} s and were left out"
                )
                clips = [c for c in clips if len(c.wave) <= room]
        if self.paired and not noises and any(c.noisy is None for c in clips):
            raise DataError("this model takes clean/ and noisy/ pairs, and these clips have no noisy partner")
        known = [self.classes.get(name, ()) for name in ("label", "speaker")]
        return Clips(clips, self.spectral, self.length, self.whole, *known, self.paired, noises, bool(self.text))

    # -- the model's parts --------------------------------------------------------------------------------------
    def joint(self) -> Joint:
        """The mel's warp brings it down ahead of the frames on the shared clock: outlines first, phases last."""
        fields: dict[str, Any] = {"frames": Gaussian(), "mel": Gaussian(warp=2.0)}
        if self.paired:
            fields["noisy"] = Gaussian()
        if self.text:
            fields["text"] = Categorical(len(self.text["symbols"]))
        fields |= {name: Categorical(len(known)) for name, known in self.classes.items()}
        weights = {"frames": 0.4, "mel": 1.0} if self.classes or self.text else {"mel": 0.3}
        if "mel_weight" in self.config:
            weights = {"mel": self.config["mel_weight"]}
        return Joint(fields, weights | {name: 0.05 for name in self.classes})

    def network(self) -> nn.Module:
        from suffuse.modalities.audio.network import AudioNetwork

        classes = {name: len(known) for name, known in self.classes.items()}
        symbols = len(self.text["symbols"]) if self.text else 0
        return AudioNetwork(self.spectral, classes, self.paired, symbols, **self.config.get("network", {}))

    # -- training -----------------------------------------------------------------------------------------------
    @property
    def tasks(self) -> dict[str, float]:
        """generate: everything, labels held. label: by label and voice. vocode: frames from mel. fill: a gap in time.
        extend: high frequencies. speak: by text (and voice). classify: labels from sound. denoise: the clean from the noisy."""
        if self.paired:
            return {"denoise": 0.9, "vocode": 0.1}
        if self.text:
            return {"speak": 0.75, "vocode": 0.15, "fill": 0.06, "extend": 0.04}
        if self.classes:
            return {"label": 0.5, "vocode": 0.2, "generate": 0.1, "fill": 0.1, "extend": 0.05, "classify": 0.05}
        return {"vocode": 0.65, "fill": 0.2, "extend": 0.1, "generate": 0.05}

    def start(self, task: str, batch: Batch, random: Random, step: int) -> Start:
        return levels.start(self, task, batch, random, step)

    def defaults(self) -> dict[str, Any]:
        drawn = {**SAMPLING, "guidance": 4.0 if self.text else 2.0}
        sampling = drawn if self.classes or self.text else {"steps": 1 if self.paired else 4, "solver": "ddim"}
        return {"batch": 32, "learning_rate": 3e-3, "optimiser": "muon", "sampling": sampling}

    # -- asking -------------------------------------------------------------------------------------------------
    def request(self, n: int, given: Any = None, *, index: Tensor, **asked: Any) -> Task:
        """given: None, (samples, rate) with NaN where it is not known, a path, or a dict of any of: audio, frames (the same),
        mel (M, T) as `spectral.mel` gives it, noisy, label, speaker, text. asked: seconds, cutoff (Hz; what lies above is asked),
        pace (of a text: 2 is twice as fast), durations (seconds of each of its symbols, `speaking.spoken` tells which)."""
        return asking.request(self, n, given, index, **asked)

    def objects(self, x: Any) -> list[Any]:
        return [x] if asking.is_sound(x) else list(x)

    def wrap(self, denoiser: Callable[..., Any], task: Task) -> Callable[..., Any]:
        """Keep the frames in step with the mel in every network call (see `consistency.MelConsistent`); not where noise is taken
        away, since noisy frames say more than a mel that is itself a guess."""
        from suffuse.modalities.audio.consistency import MelConsistent

        if self.paired and bool(task.start.levels["mel"].gt(0).any()):
            return denoiser
        return MelConsistent(denoiser, self.spectral)

    def decode(self, fields: dict[str, Tensor], task: Task) -> list[tuple[np.ndarray, int]]:
        """(samples, rate) each: mono float32. What was given of a wave is put back as it was, with short cross-fades."""
        return asking.decode(self, fields, task)

    def mask(self, mask: Any, task: Task) -> Tensor:
        """A mask of time: (start, end) in seconds, a list of those, or a bool a frame; True is changed."""
        return asking.time_mask(self, mask, task)

    def write(self, samples: Sequence[Any], path: Path, first: int = 0) -> list[Path]:
        path = Path(path)
        if path.suffix.lower() in waves.SUFFIXES and len(samples) == 1:
            return [waves.write_wave(*samples[0], path)]
        folder, suffix = (path.with_suffix(""), path.suffix) if path.suffix else (path, ".wav")
        if suffix.lower() not in waves.SUFFIXES:
            raise AskError(f"{path} must end in one of {', '.join(waves.SUFFIXES)}, or name a folder")
        from suffuse.files import atomic_folder

        names = [f"{number:04d}{suffix}" for number in range(first, first + len(samples))]
        with atomic_folder(folder, existing="merge" if first else "refuse") as partial:
            for name, (wave, rate) in zip(names, samples, strict=True):
                waves.write_wave(wave, rate, partial / name)
        return [folder / name for name in names]

    def show(self, samples: Sequence[Any], path: Path) -> Path:
        from suffuse.modalities.audio.show import spectrograms

        return spectrograms(samples, path)

    # -- quality ------------------------------------------------------------------------------------------------
    def evaluate(
        self, model: Any, data: Any, *, clips: int = 20, steps: int | None = None, **_: Any
    ) -> dict[str, float]:
        """Log-spectral and mel-cepstral distance (dB) of vocoded clips, beside Griffin-Lim on the same mel; and, with labels,
        the share of clips whose label one network call names."""
        from suffuse.modalities.audio.verbs import evaluate

        return evaluate(model, data, clips, steps)


from suffuse.modalities.audio.verbs import VERBS  # noqa: E402  (verbs build on the class)

Audio.verbs: ClassVar[dict[str, Callable[..., Any]]] = VERBS
