"""Medical scans: NIfTI and DICOM volumes, masks, several modalities.

Everything a model makes is marked as derived, synthetic and not for clinical use.
"""

from suffuse.modalities.scans.dicom import read_dicom
from suffuse.modalities.scans.dicom_out import write_dicom
from suffuse.modalities.scans.modality import Scans
from suffuse.modalities.scans.nifti import read_nifti, write_nifti
from suffuse.modalities.scans.volume import Case, Volume

__all__ = ["Case", "Scans", "Volume", "read_dicom", "read_nifti", "write_dicom", "write_nifti"]
