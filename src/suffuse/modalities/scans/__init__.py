"""Medical scans: NIfTI and DICOM volumes, masks, several modalities.

Everything a model makes is marked as derived, synthetic and not for clinical use.
"""

from suffuse.modalities.scans.modality import Scans
from suffuse.modalities.scans.volume import Case, Volume

__all__ = ["Case", "Scans", "Volume"]
