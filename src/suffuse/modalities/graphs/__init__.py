"""Graphs: reading, the modality, drawing, and projection to planar, acyclic and connected graphs."""

from suffuse.modalities.graphs.modality import Graphs

__all__ = ["Graphs"]
