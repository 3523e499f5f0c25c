"""Three-dimensional shapes: meshes, point clouds and voxels as signed-distance grids."""
