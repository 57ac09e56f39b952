"""Scene to pixels: the only folder that imports VTK."""
