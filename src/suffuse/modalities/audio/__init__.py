"""Speech and other sound (see `modality.Audio`)."""

from suffuse.modalities.audio.modality import Audio

__all__ = ["Audio"]
