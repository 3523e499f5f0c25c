"""Text: reading, vocabularies, the modality, its network and its verbs."""

from suffuse.modalities.text.modality import Text

__all__ = ["Text"]
