"""Images: reading and writing pictures, the modality, its verbs and its quality."""

from suffuse.modalities.images.modality import Images

__all__ = ["Images"]
