"""The demo's page: everything inline, nothing unescaped, failures shown."""

import re
import wave
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from PIL import Image

from suffuse.demo import Report, pieces, run, run_demo
from suffuse.demo.page import page
from suffuse.errors import AskError, DataError, MissingModel


def tone(path):
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes((8000 * np.sin(np.arange(2000) / 5)).astype("<i2").tobytes())
    return path


def filled(tmp_path):
    report = Report()
    report.room("Images", "Digits & `fashion` <small>.")
    pictures = [np.full((28, 28), 20 * k, np.uint8) for k in range(10)]
    code, quality = 'model.sample(16, given={"label": 3})', {"Frechet distance": 12.345, "precision": 0.7}
    made = pieces.sheet(pictures)
    report.item("Generate", "Sixteen 3s", code, made, 8, 0.41, quality, {"Frechet distance": 1.2}, "a note")
    Image.fromarray(pictures[3]).save(tmp_path / "one.png")
    parts = {"given": tmp_path / "one.png", "made": "<b>ok</b>"}
    report.item("Complete", "Fill <the> hole", "model.sample(given=x)", parts)
    report.room("Audio")
    report.item("Speak", "say it", "model.sample()", [tone(tmp_path / "a.wav")], quality="clear")
    report.room("Text")
    report.item("Write", "fill in", "model.sample()", pieces.marked_text([("once <upon>", False), (" a time", True)]))
    return report


class Outline(HTMLParser):
    """Collects the links out of the page and checks that tags are closed in order."""

    EMPTY = {"meta", "img", "br"}

    def __init__(self):
        super().__init__()
        self.open, self.links = [], []

    def handle_starttag(self, tag, attributes):
        self.links += [value for name, value in attributes if name in ("src", "href")]
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_is_whole_and_needs_nothing_else(tmp_path):
    text = page(filled(tmp_path), "a machine", 3.0)
    outline = Outline()
    outline.feed(text)
    assert outline.open == []
    assert outline.links and all(link.startswith(("#", "data:")) for link in outline.links)
    assert sum(link.startswith("data:image/png") for link in outline.links) == 2
    assert sum(link.startswith("data:audio/wav") for link in outline.links) == 1
    assert not re.search(r"https?:|@import|url\(", text)
    assert "Digits &amp; <code>fashion</code> &lt;small&gt;" in text and "once &lt;upon&gt;<mark> a time</mark>" in text
    assert "<b>8</b> network calls" in text and "410 ms" in text and ">12.3<" in text and ">clear<" in text


def test_a_room_that_fails_is_shown_and_the_others_go_on(tmp_path, monkeypatch):
    def images(report, folder):
        report.room("Images", "pictures")
        (folder / "a.txt").write_text("left for the reader")
        report.item("One", "asked", "code()", calls=1)
        raise DataError("the zoo is closed")

    def text(report, folder):
        report.item("Two", "asked", "code()")

    def audio(report, folder):
        raise ModuleNotFoundError("no", name="soundfile")

    rooms = {"images": images, "text": text, "audio": audio}
    monkeypatch.setattr(run, "room_of", rooms.get)
    heard = []
    report = run_demo(tmp_path / "gallery", say=lambda what, value: heard.append(what))
    assert [room.title for room in report.rooms] == ["Images", "Text", "Audio"]
    assert [bool(room.failure) for room in report.rooms] == [True, False, True]
    assert "suffuse[audio]" in report.rooms[2].failure
    shown = (tmp_path / "gallery" / "index.html").read_text()
    assert "the zoo is closed" in shown and "Two" in shown
    assert heard.count("done") == 3 and heard[-1] == "page"


def test_rooms_whose_models_do_not_ship(tmp_path, monkeypatch):
    def images(report, folder):
        report.item("One", "asked", "code()")
        raise MissingModel("there is no model 'emoji'", "emoji")

    def text(report, folder):
        report.room("Text", "words")
        raise MissingModel("there is no model 'tang'", "tang")

    monkeypatch.setattr(run, "room_of", {"images": images, "text": text}.get)
    report = run_demo(tmp_path)
    assert [room.title for room in report.rooms] == ["Images"] and not report.rooms[0].failure
    assert "emoji does not ship" in (tmp_path / "index.html").read_text()


def test_bad_asks(tmp_path):
    with pytest.raises(AskError, match="did you mean 'images'"):
        run_demo(tmp_path, only=["image"])
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError):
        run_demo(tmp_path / "file" / "gallery")


def test_the_watch_counts_network_calls():
    network = torch.nn.Linear(2, 2)
    with Report().watch(network) as seen:
        for _ in range(3):
            network(torch.zeros(1, 2))
    network(torch.zeros(1, 2))
    assert seen.calls == 3 and seen.seconds > 0


@pytest.mark.parametrize("value, text", [
    (12.345, "12.3"), (0.5, "0.500"), (1234.5, "1234"), (0.0, "0.000"), (1e-7, "1.00e-07"), (float("nan"), "–"),
    (None, "–"), (True, "yes"), (3, "3"), ("x", "x"), (np.float32(2.5), "2.50"), (torch.tensor(2.5), "2.50"),
])
def test_numbers(value, text):
    assert pieces.number(value) == text
