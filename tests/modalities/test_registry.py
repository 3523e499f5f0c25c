"""Kinds of data are found by name, recognised by content, and missing ones are told in one sentence."""

import sys
import types

import pytest

from suffuse.errors import AskError, DataError, ModelError
from suffuse.modalities import registry


class Sure:
    @classmethod
    def recognises(cls, source):
        return 0.9 if str(source).endswith(".sure") else 0.0


class Unsure:
    @classmethod
    def recognises(cls, source):
        return 0.3


@pytest.fixture
def two(monkeypatch):
    module = types.ModuleType("suffuse_test_kinds")
    module.Sure, module.Unsure = Sure, Unsure
    monkeypatch.setitem(sys.modules, "suffuse_test_kinds", module)
    kinds = {name: f"suffuse_test_kinds:{name.title()}" for name in ("sure", "unsure", "gone")}
    monkeypatch.setattr(registry, "MODALITIES", kinds)
    return kinds


def test_the_surest_wins(two, tmp_path):
    (tmp_path / "a.sure").write_text("")
    assert registry.recognise(tmp_path / "a.sure") is Sure
    assert registry.recognise("something else") is Unsure


def test_nothing_recognised_lists_the_choices(two, monkeypatch):
    monkeypatch.setattr(Unsure, "recognises", classmethod(lambda cls, source: 0.0))
    with pytest.raises(DataError, match="object of type dict.*one of sure, unsure$"):
        registry.recognise({})


def test_a_missing_path_is_told_as_such(two, tmp_path):
    with pytest.raises(DataError, match="there is no file or folder"):
        registry.recognise(tmp_path / "nothing.sure")
    with pytest.raises(DataError, match="there is no file or folder"):
        registry.recognise("./nothing.sure")


def test_unknown_and_absent_names(two):
    with pytest.raises(AskError, match="did you mean 'unsure'"):
        registry.find("unsur")
    with pytest.raises(ModelError, match="not whole in this version"):
        registry.find("gone")


def test_a_missing_library_names_its_extra(two, monkeypatch, tmp_path):
    (tmp_path / "suffuse_test_scan.py").write_text("import a_library_nobody_has")
    monkeypatch.syspath_prepend(tmp_path)
    two["scans"] = "suffuse_test_scan:Scans"
    with pytest.raises(ModelError, match=r"a_library_nobody_has.*pip install 'suffuse\[scans\]'"):
        registry.find("scans")
    monkeypatch.setattr(Unsure, "recognises", classmethod(lambda cls, source: 0.0))
    with pytest.raises(DataError, match="for want of their libraries: scans"):
        registry.recognise("what")
    assert "suffuse[molecules]" in registry.missing_library(ModuleNotFoundError("no", name="rdkit.Chem"))


def test_registered_modalities_meet_the_contract():
    from suffuse.modalities.contract import Modality

    for name, modality in registry.available().items():
        assert issubclass(modality, Modality) and modality.name == name == modality.extra
        assert modality.summary and "\n" not in modality.summary
        assert not getattr(modality, "__abstractmethods__", None), name
