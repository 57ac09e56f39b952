"""The stage: a scene as VTK objects, always the same handful of actors.

`Stage` holds what both a picture and the browser's view are drawn from. Slabs are not sorted by the graphics card: all
of them face along one axis, so drawing whole layers from the furthest to the nearest gives exact translucency in one
pass.
"""

from __future__ import annotations

import numpy as np

# Registers the factories that make vtkRenderer and its kin draw with OpenGL; without them nothing can be built.
import vtkmodules.vtkInteractionStyle
import vtkmodules.vtkRenderingOpenGL2  # noqa: F401
from vtkmodules.util.numpy_support import numpy_to_vtk, numpy_to_vtkIdTypeArray
from vtkmodules.vtkCommonCore import vtkPoints
from vtkmodules.vtkCommonDataModel import vtkCellArray, vtkImageData, vtkPolyData
from vtkmodules.vtkRenderingCore import (
    vtkActor,
    vtkPolyDataMapper,
    vtkRenderer,
    vtkRenderWindow,
    vtkRenderWindowInteractor,
    vtkTexture,
)

from ..scene import Camera, Scene
from ..scene.mesh import Lines, Surface, back_to_front, polylines
from ..scene.pages import Page
from .gl import off_screen

LINE_WIDTH = 1.4


class TexturedActor:
    """Quads that show a page."""

    def __init__(self, name: str, smooth: bool) -> None:
        self.name = name
        self.image = vtkImageData()
        self.texture = vtkTexture()
        self.texture.SetInputData(self.image)
        self.texture.SetInterpolate(smooth)
        self.texture.SetMipmap(smooth)
        self.texture.SetRepeat(False)
        self.texture.SetEdgeClamp(True)
        self.texture.SetColorModeToDirectScalars()
        self.mesh = vtkPolyData()
        self.actor = _unlit_actor(self.mesh)
        self.actor.SetTexture(self.texture)
        self.actor.GetProperty().SetBackfaceCulling(True)
        self.actor.ForceOpaqueOn()
        self._surface: Surface | None = None
        self._quads_of: list[np.ndarray] = []

    def show(self, surface: Surface, order: np.ndarray) -> None:
        """Take the geometry of `surface`, its layers drawn in `order`."""
        self._surface = surface
        self.mesh.Initialize()
        self.mesh.SetPoints(_points(surface.points))
        coordinates = numpy_to_vtk(_filled(surface.tcoords), deep=True)
        coordinates.SetName("TCoords")
        self.mesh.GetPointData().SetTCoords(coordinates)
        self.sort(order)

    def sort(self, order: np.ndarray) -> None:
        """Draw the layers in another order."""
        if self._surface is not None:
            self.mesh.SetPolys(_cells(sorted_quads(self._surface, order)))

    def paint(self, page: Page, colour: tuple[int, int, int]) -> None:
        """Take the page's texels; `colour` is that of text."""
        height, width = page.shape
        self.image.SetDimensions(width, height, 1)
        texels = numpy_to_vtk(page.rgba(colour).reshape(-1, 4), deep=True)
        texels.SetName("texels")
        self.image.GetPointData().SetScalars(texels)
        self.image.Modified()


class LineActor:
    """Coloured line segments."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.mesh = vtkPolyData()
        self.actor = _unlit_actor(self.mesh)
        self.actor.GetProperty().SetLineWidth(LINE_WIDTH)

    def show(self, lines: Lines) -> None:
        self.mesh.Initialize()
        self.mesh.SetPoints(_points(lines.points))
        self.mesh.SetLines(_cells(lines.segments))
        colours = numpy_to_vtk(_filled(lines.colours), deep=True)
        colours.SetName("colours")
        self.mesh.GetPointData().SetScalars(colours)


class Stage:
    """A scene on a render window.

    Args:
        scene: what is shown first.

    Attributes:
        window: the `vtkRenderWindow`; nothing is drawn, and no OpenGL library is needed, before `Render` is called.
        surfaces: the textured actors "cells", "names" and "shares".
        lines: the line actors "links", "frames", "brackets" and "hover"; "hover" belongs to whoever follows a pointer.
    """

    def __init__(self, scene: Scene) -> None:
        self.renderer = vtkRenderer()
        self.renderer.SetLightFollowCamera(True)
        with off_screen():
            self.window = vtkRenderWindow()
        self.window.SetOffScreenRendering(True)
        self.window.AddRenderer(self.renderer)
        self.interactor = vtkRenderWindowInteractor()
        self.interactor.SetRenderWindow(self.window)
        self.lines = {name: LineActor(name) for name in ("links", "frames", "brackets", "hover")}
        self.surfaces = {page.name: TexturedActor(page.name, page.smooth) for page in scene.pages}
        drawn: list[LineActor | TexturedActor] = [*self.lines.values(), *self.surfaces.values()]
        for actor in drawn:
            self.renderer.AddActor(actor.actor)
        self.show(scene)

    @property
    def actor_count(self) -> int:
        return int(self.renderer.GetViewProps().GetNumberOfItems())

    def show(self, scene: Scene) -> None:
        """Show another scene, or the same one with other layers open."""
        self.scene = scene
        self.renderer.SetBackground(*(c / 255 for c in scene.theme.background))
        self.set_camera(scene.camera, sort=False)
        order = self._order(scene.camera)
        for surface, geometry in self._geometry(scene).items():
            self.surfaces[surface].show(geometry, order)
        self.lines["links"].show(scene.links)
        self.lines["frames"].show(scene.frames)
        self.lines["brackets"].show(scene.brackets)
        self.lines["hover"].show(polylines([], [], []))
        self.paint()

    def paint(self) -> None:
        """Take the pages' texels as they are now."""
        for page in self.scene.pages:
            self.surfaces[page.name].paint(page, self.scene.theme.text)

    def set_camera(self, camera: Camera, sort: bool = True) -> None:
        """Look from somewhere else."""
        view = self.renderer.GetActiveCamera()
        view.SetPosition(camera.position)
        view.SetFocalPoint(camera.focal_point)
        view.SetViewUp(camera.view_up)
        view.SetViewAngle(camera.view_angle)
        if sort:
            order = self._order(camera)
            for surface in self.surfaces.values():
                surface.sort(order)

    def _order(self, camera: Camera) -> np.ndarray:
        depth = np.array([item.centre[2] for item in self.scene.placements])
        return back_to_front(depth, camera.position[2])

    @staticmethod
    def _geometry(scene: Scene) -> dict[str, Surface]:
        return {"cells": scene.cells, "names": scene.names, "shares": scene.shares}


def sorted_quads(surface: Surface, order: np.ndarray) -> np.ndarray:
    """`(Q, 4)` int32: the surface's quads, layer by layer in `order`."""
    if not len(surface.quads):
        return surface.quads
    of_quad = surface.layer[surface.quads[:, 0]]
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    return surface.quads[np.argsort(rank[of_quad], kind="stable")]


def _unlit_actor(mesh: vtkPolyData) -> vtkActor:
    mapper = vtkPolyDataMapper()
    mapper.SetInputData(mesh)
    actor = vtkActor()
    actor.SetMapper(mapper)
    look = actor.GetProperty()
    look.SetLighting(False)
    look.SetInterpolationToFlat()
    return actor


def _points(points: np.ndarray) -> vtkPoints:
    out = vtkPoints()
    out.SetData(numpy_to_vtk(_filled(np.ascontiguousarray(points, dtype=np.float32)), deep=True))
    return out


def _filled(array: np.ndarray) -> np.ndarray:
    """The array, or a row of zeros where it has none: trame-vtk leaves out an actor without a cell."""
    return array if len(array) else np.zeros((1, *array.shape[1:]), dtype=array.dtype)


def _cells(cells: np.ndarray) -> vtkCellArray:
    cells = _filled(cells)
    out = vtkCellArray()
    offsets = np.arange(0, cells.size + 1, cells.shape[1], dtype=np.int64)
    out.SetData(
        numpy_to_vtkIdTypeArray(offsets, deep=True),
        numpy_to_vtkIdTypeArray(cells.astype(np.int64).reshape(-1), deep=True),
    )
    return out
