"""Video: clips with a noise level per frame, so that one model generates, predicts, interpolates and animates."""

from suffuse.modalities.video.files import Clip
from suffuse.modalities.video.modality import Video

__all__ = ["Clip", "Video"]
