"""Molecules: reading, the modality, its verbs, and pictures."""

from suffuse.modalities.molecules.modality import Molecules

__all__ = ["Molecules"]
