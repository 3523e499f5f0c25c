"""Medical scans: NIfTI and DICOM volumes, masks, several modalities. Everything made is synthetic and not for clinical use."""
