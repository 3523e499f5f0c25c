"""Three-dimensional shapes: meshes, point clouds and voxels as signed-distance grids; `lift` makes them from pictures."""

from suffuse.modalities.shapes.files import Shape
from suffuse.modalities.shapes.lifting import lift
from suffuse.modalities.shapes.modality import Shapes

__all__ = ["Shape", "Shapes", "lift"]
