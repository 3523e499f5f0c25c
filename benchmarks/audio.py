"""The audio room measured. Tables go to benchmarks/results/audio.md; finished rows are kept in audio.json and not run again.

    python benchmarks/audio.py prepare --data ../shared/data --work runs/audio      # unpack, split train and test
    python benchmarks/audio.py vocode kathleen --work runs/audio --clips 100         # line 1: copy synthesis
    python benchmarks/audio.py digits spoken-digits --work runs/audio                # line 3: recognised, varied
    python benchmarks/audio.py gaps kathleen --work runs/audio --clips 20            # line 8: gaps and bandwidth
    python benchmarks/audio.py speed kathleen --work runs/audio                      # line 10: real-time factors

Needs, beside suffuse[audio]: pesq 0.0.4, pystoi 0.4.1, scikit-learn. Test data: the last 100 Kathleen sentences; FSDD
recordings 0 to 4 of each digit and speaker (its official test split).
"""

from __future__ import annotations

import argparse
import json
import shutil
import tarfile
import time
from pathlib import Path

import numpy as np
import torch

import suffuse
from suffuse.files import write_json, write_text
from suffuse.metrics.audio import log_spectral_distance, mel_cepstral_distance
from suffuse.modalities.audio.waves import normalise, read_wave

RESULTS = Path(__file__).parent / "results" / "audio.json"


class Table:
    """Rows by section, kept as JSON after every row and rendered as Markdown."""

    path = RESULTS

    def __init__(self, section: str, note: str):
        self.all = json.loads(self.path.read_text()) if self.path.is_file() else {}
        self.rows = self.all.setdefault(section, {"note": "", "rows": {}})["rows"]
        self.all[section]["note"] = note

    def row(self, name: str, make) -> dict:
        """The row of this name; made if it is not there yet."""
        if name not in self.rows:
            self.rows[name] = {k: round(float(v), 4) for k, v in make().items()}
            print(name, self.rows[name], flush=True)
            write_json(self.all, self.path)
            write_text(render(self.all), self.path.with_suffix(".md"))
        return self.rows[name]


def render(tables: dict) -> str:
    lines = ["# Audio", ""]
    for section, table in tables.items():
        heads = list(dict.fromkeys(k for row in table["rows"].values() for k in row))
        lines += [f"## {section}", "", table["note"], "", "| | " + " | ".join(heads) + " |", "|---" * (len(heads) + 1) + "|"]
        for name, row in table["rows"].items():
            lines.append(f"| {name} | " + " | ".join(f"{row[h]:g}" if h in row else "" for h in heads) + " |")
        lines.append("")
    return "\n".join(lines)


def prepare(a: argparse.Namespace) -> None:
    """Unpack both sets into work/NAME/train and work/NAME/test."""
    for name, archive in (("fsdd", "fsdd/recordings.tar.xz"), ("kathleen", "kathleen_arctic/kathleen_16k_flac.tar")):
        with tarfile.open(a.data / "audio" / archive) as tar:
            members = sorted((m for m in tar if m.name.endswith((".wav", ".flac"))), key=lambda m: m.name)
            for number, member in enumerate(members):
                test = int(Path(member.name).stem.split("_")[-1]) < 5 if name == "fsdd" else number >= len(members) - 100
                path = a.work / name / ("test" if test else "train") / Path(member.name).name
                path.parent.mkdir(parents=True, exist_ok=True)
                with tar.extractfile(member) as source, open(path, "wb") as target:
                    shutil.copyfileobj(source, target)


def clips_of(folder: Path, rate: int, count: int | None = None) -> list[np.ndarray]:
    paths = sorted(p for p in folder.iterdir() if p.suffix in (".wav", ".flac"))[:count]
    return [normalise(read_wave(p, rate)[0], rate)[0] for p in paths]


# -- line 1 -----------------------------------------------------------------------------------------------------------
def vocode(a: argparse.Namespace) -> None:
    from pesq import pesq
    from pystoi import stoi

    model = suffuse.load(a.model)
    s, rate = model.modality.spectral, model.modality.rate
    clips = clips_of(a.work / "kathleen" / "test", rate, a.clips)
    torch.manual_seed(0)
    untrained = suffuse.Model.new(model.modality)
    note = (
        f"{len(clips)} held-out Kathleen sentences, mel of {s.bands} bands, n_fft {s.n_fft}, hop {s.hop}. "
        "Griffin-Lim is the fast one (momentum .99) on magnitudes fitted to the mel, which is stronger than the plain one. "
        "True phase: those magnitudes with the true phase. "
        f"`python benchmarks/audio.py vocode {a.name} --clips {len(clips)}`"
    )
    table = Table(f"Copy synthesis, n_fft {s.n_fft}, hop {s.hop}" + a.tag, note)

    def score(make):
        def run() -> dict[str, float]:
            rows, begun = [], time.process_time()
            made = [make(k, wave) for k, wave in enumerate(clips)]
            seconds = time.process_time() - begun
            for wave, other in zip(clips, made, strict=True):
                spectra = [s.stft(torch.from_numpy(v)[None]) for v in (wave, other)]
                mels = [s.mel_magnitude(s.mel(v)).log() for v in spectra]
                far = log_spectral_distance(*(v.abs() for v in spectra)), mel_cepstral_distance(*mels)
                quality = pesq(rate, wave, other, "wb") if rate == 16000 else pesq(rate, wave, other, "nb")
                rows.append((quality, stoi(wave, other, rate), *(v.item() for v in far)))
            mean = np.mean(rows, 0)
            factor = seconds / sum(len(c) / rate for c in clips)
            names = ("PESQ", "STOI", "log-spectral distance, dB", "mel-cepstral distance, dB")
            return dict(zip(names, mean, strict=True)) | {"CPU seconds a second": factor}

        return run

    def griffin_lim(rounds: int, plain: bool = False):
        def make(k: int, wave: np.ndarray) -> np.ndarray:
            size = s.magnitude_of_mel(s.mel(s.stft(torch.from_numpy(wave)[None])))
            phase = 6.2832 * torch.rand(size.shape, generator=torch.Generator().manual_seed(k))
            return s.istft(s.griffin_lim(size, phase, rounds, 0.0 if plain else 0.99), len(wave))[0].numpy()

        return make

    def true_phase(k: int, wave: np.ndarray) -> np.ndarray:
        spectrum = s.stft(torch.from_numpy(wave)[None])
        size = s.magnitude_of_mel(s.mel(spectrum))
        return s.istft(torch.polar(size, spectrum.angle()), len(wave))[0].numpy()

    table.row("real against itself", score(lambda k, wave: wave))
    table.row("true phase", score(true_phase))
    table.row("Griffin-Lim-60 without momentum", score(griffin_lim(60, True)))
    for rounds in (60, 200):
        table.row(f"Griffin-Lim-{rounds}", score(griffin_lim(rounds)))
    table.row("untrained, 4 calls", score(lambda k, w: untrained.vocode((w, rate), steps=4, seed=k)[0][0]))
    for calls in (1, 2, 4, 8):
        table.row(f"suffuse, {calls} calls", score(lambda k, w, c=calls: model.vocode((w, rate), steps=c, seed=k)[0][0]))


# -- line 3 -----------------------------------------------------------------------------------------------------------
def digits(a: argparse.Namespace) -> None:
    import audio_judges as judges

    model = suffuse.load(a.model)
    m = model.modality
    names = m.classes["label"]

    def real(part: str) -> tuple[list, torch.Tensor]:
        paths = sorted((a.work / "fsdd" / part).iterdir())
        return [read_wave(p)[0] for p in paths], torch.tensor([names.index(p.stem.split("_")[0]) for p in paths])

    waves, labels = real("train")
    test_waves, test_labels = real("test")
    mels, test_mels = ([judges.mel_of(w) for w in v] for v in (waves, test_waves))
    network = judges.train_network(mels, labels, len(names), a.judge_seconds)
    machine = judges.train_machine(mels, labels)

    def features(clips: list) -> np.ndarray:
        with torch.no_grad():
            return network.features(judges.stack(clips)).numpy()

    train_features = features(mels)

    def nearest(clips: list) -> float:
        here = torch.cdist(judges.stack(clips).flatten(1), judges.stack(mels).flatten(1))
        return here.amin(1).mean().item()

    def score(clips: list, truth: torch.Tensor) -> dict[str, float]:
        chances = judges.ask_network(network, clips)
        frames = [judges.cepstra([c])[0][-1] * 200 * judges.MEL.hop / judges.RATE for c in clips]
        within = [np.std([f for f, t in zip(frames, truth.tolist()) if t == d]) for d in range(len(names))]
        return {
            "network, %": 100 * (chances.argmax(1) == truth).float().mean().item(),
            "machine, %": 100 * float((machine.predict(judges.cepstra(clips)) == truth.numpy()).mean()),
            "inception score": judges.inception_score(chances),
            "NDB/K": judges.different_bins(train_features, features(clips)),
            "nearest training clip": nearest(clips),
            "duration, s": float(np.mean(frames)),
            "its deviation a digit, s": float(np.mean(within)),
        }

    note = (
        f"{a.samples} samples, {len(names)} digits and {len(m.classes.get('speaker', [1]))} voices in turn, seed 0; judges "
        "trained on the 2,700 training clips (audio_judges.py); real: the 300 official test clips, which no model has seen. "
        "Nearest training clip: mean distance of log-mels. One seed. "
        f"`python benchmarks/audio.py digits {a.name} --samples {a.samples}`"
    )
    table = Table("Spoken digits" + a.tag, note)
    table.row("real test clips", lambda: score(test_mels, test_labels))

    def vocoded() -> dict[str, float]:
        made = [model.vocode((w, m.rate), steps=4)[0][0] for w in test_waves if len(w) <= (m.length - 1) * m.spectral.hop]
        truth = test_labels[[len(w) <= (m.length - 1) * m.spectral.hop for w in test_waves]]
        return score([judges.mel_of(w) for w in made], truth)

    table.row("real test clips, vocoded", vocoded)
    given = {"label": [names[k % len(names)] for k in range(a.samples)]}
    if "speaker" in m.classes:
        known = m.classes["speaker"]
        given["speaker"] = [known[(k // len(names)) % len(known)] for k in range(a.samples)]
    truth = torch.tensor([k % len(names) for k in range(a.samples)])
    for calls in a.calls:
        for weight in a.guidance:

            def sampled(calls: int = calls, weight: float = weight) -> dict[str, float]:
                begun = time.process_time()
                made = model.sample(a.samples, given=given, steps=calls, guidance=weight, batch=50)
                seconds = time.process_time() - begun
                long = sum(len(w) for w, _ in made) / m.rate
                return score([judges.mel_of(w) for w, _ in made], truth) | {"CPU seconds a second": seconds / long}

            table.row(f"suffuse, {calls} calls, guidance {weight:g}", sampled)


# -- line 8 -----------------------------------------------------------------------------------------------------------
def autoregressive(wave: np.ndarray, begin: int, end: int, order: int = 64, reach: int = 1600) -> np.ndarray:
    """Fill a gap by linear prediction from both sides (Burg's method), cross-faded."""

    def burg(x: np.ndarray) -> np.ndarray:
        f, b, a = x[1:].copy(), x[:-1].copy(), np.array([1.0])
        for _ in range(order):
            k = -2 * f.dot(b) / (f.dot(f) + b.dot(b) + 1e-12)
            a = np.append(a, 0) + k * np.append(a, 0)[::-1]
            f, b = (f + k * b)[1:], (b + k * f)[:-1]
        return a

    def ahead(x: np.ndarray, count: int) -> np.ndarray:
        a, out = burg(x.astype(np.float64)), list(x[-order:].astype(np.float64))
        for _ in range(count):
            out.append(-np.dot(a[1:], out[-1 : -order - 1 : -1]))
        return np.array(out[order:])

    out, n = wave.copy(), end - begin
    left, right = ahead(wave[max(0, begin - reach) : begin], n), ahead(wave[end : end + reach][::-1], n)[::-1]
    share = np.linspace(1, 0, n)
    out[begin:end] = share * left + (1 - share) * right
    return out


def gaps(a: argparse.Namespace) -> None:
    model = suffuse.load(a.model)
    rate = model.modality.rate
    clips = clips_of(a.work / "kathleen" / "test", rate, a.clips)
    draw = np.random.default_rng(0)

    def distance(true: np.ndarray, made: np.ndarray, begin: int, end: int, low_bin: int = 0) -> float:
        """Log-spectral distance (512-sample window) of the frames that lie in the stretch."""
        window = torch.hann_window(512)
        spectra = [
            torch.stft(torch.from_numpy(v)[None], 512, 128, window=window, return_complex=True).abs() for v in (true, made)
        ]
        top = spectra[0].amax()
        floor = top * 1e-4
        db = [20 * torch.maximum(v, floor).log10() for v in spectra]
        part = (db[0] - db[1])[:, low_bin:, begin // 128 + 1 : max(end // 128, begin // 128 + 2)]
        return part.square().mean(1).sqrt().mean().item()

    note = (
        f"{len(clips)} held-out Kathleen sentences, one gap each where there is speech; distances in dB over the gap. One "
        f"seed. `python benchmarks/audio.py gaps {a.name} --clips {len(clips)}`"
    )
    table = Table("Gaps" + a.tag, note)
    for length in (0.05, 0.1, 0.2):
        places = []
        for wave in clips:
            n = int(length * rate)
            while True:
                begin = int(draw.integers(rate // 3, len(wave) - n - rate // 3))
                if np.sqrt((wave[begin : begin + n] ** 2).mean()) > 0.02:
                    break
            places.append((begin, begin + n))

        def over(make, places=places) -> float:
            return float(np.mean([distance(w, make(w, *p), *p) for w, p in zip(clips, places, strict=True)]))

        def linear(wave: np.ndarray, begin: int, end: int) -> np.ndarray:
            out = wave.copy()
            out[begin:end] = np.linspace(wave[begin - 1], wave[end], end - begin)
            return out

        def ours(wave: np.ndarray, begin: int, end: int) -> np.ndarray:
            return model.fill((wave, rate), [(begin / rate, end / rate)], steps=a.calls[0])[0][0]

        table.row(
            f"{1000 * length:.0f} ms",
            lambda over=over: {
                "linear": over(linear),
                "AR (Burg, both sides)": over(autoregressive),
                f"suffuse, {a.calls[0]} calls": over(ours),
            },
        )
    note = (
        "The same sentences, everything above 4 kHz taken away; distances in dB above 4 kHz. One seed. "
        f"`python benchmarks/audio.py gaps {a.name} --clips {len(clips)}`"
    )
    table = Table("Bandwidth, 4 to 8 kHz" + a.tag, note)

    def band(make) -> float:
        from suffuse.modalities.audio.waves import resample

        low = [resample(resample(w, rate, 8000), 8000, rate)[: len(w)] for w in clips]
        return float(np.mean([distance(w, make(v), 0, len(w) - 512, 133) for w, v in zip(clips, low, strict=True)]))

    table.row("sinc", lambda: {"distance above 4 kHz, dB": band(lambda v: v)})
    for calls in a.calls:
        table.row(
            f"suffuse, {calls} calls",
            lambda c=calls: {"distance above 4 kHz, dB": band(lambda v: model.extend((v, rate), 4000, steps=c)[0][0])},
        )


# -- line 10 ----------------------------------------------------------------------------------------------------------
def speed(a: argparse.Namespace) -> None:
    import resource

    begun = time.perf_counter()
    model = suffuse.load(a.model)
    load = time.perf_counter() - begun
    rate = model.modality.rate
    speech = np.concatenate(clips_of(a.work / "kathleen" / "test", rate, 40))
    note = (
        f"Vocoding on {torch.get_num_threads()} CPU threads, polish included: seconds of computing a second of sound; steady "
        f"is the smaller of two runs after the first. Loading took {load:.2f} s. `python benchmarks/audio.py speed {a.name}`"
    )
    table = Table("Real-time factor" + a.tag, note)
    for calls in (1, 4):
        for seconds in (2, 10, 60):

            def timed(calls: int = calls, seconds: int = seconds) -> dict[str, float]:
                wave, times = (speech[: seconds * rate], rate), []
                for _ in range(3):
                    begun = time.perf_counter()
                    model.vocode(wave, steps=calls)
                    times.append((time.perf_counter() - begun) / seconds)
                peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
                return {"first": times[0], "steady": min(times[1:]), "peak memory, MB": peak}

            table.row(f"{calls} calls, {seconds} s", timed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["prepare", "vocode", "digits", "gaps", "speed"])
    parser.add_argument("model", nargs="?", default="kathleen", help="a zoo name or a folder")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--work", type=Path, default=Path("runs/audio"))
    parser.add_argument("--clips", type=int, default=100)
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--calls", type=lambda v: [int(c) for c in v.split(",")], default=[16])
    parser.add_argument("--guidance", type=lambda v: [float(c) for c in v.split(",")], default=[1.5])
    parser.add_argument("--judge-seconds", type=float, default=60.0)
    parser.add_argument("--results", type=Path, default=RESULTS, help="JSON of finished rows; the Markdown stands beside it")
    parser.add_argument("--tag", default="", help="added to the tables' names")
    a = parser.parse_args()
    Table.path = a.results
    a.name = Path(a.model).name
    a.tag = f" ({a.tag})" if a.tag else ""
    globals()[a.what](a)


if __name__ == "__main__":
    main()
