"""Time series."""

from suffuse.modalities.series.modality import Series

__all__ = ["Series"]
