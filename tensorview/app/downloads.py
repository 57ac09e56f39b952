"""Files that a person takes from the page: a picture of the view, and the view as a scene file."""

from __future__ import annotations

from typing import Any

from ..scene import Camera
from .handover import File
from .session import Session
from .texts import data_url

# What a page does with the answer of a trigger that has prepared a file, or with none.
SAVED = ".then((f) => f && trame.refs.stage.download(f.name, f.url))"


def picture_file(session: Session, options: dict[str, Any], camera: Camera) -> File:
    """The view as a PNG.

    Args:
        options: `width`, `height`, and whether it is `transparent` and has a `title`, a `legend` and a colour `bar`.

    Raises:
        StageError: no picture can be made on this machine.
    """
    import io

    from ..stage import screenshot

    subject = session.subject
    image = screenshot(
        session.scene,
        size=(options["width"], options["height"]),
        transparent=options["transparent"],
        title=(subject.title or subject.name) if options["title"] else None,
        legend=options["legend"],
        colour_bar=options["bar"],
        camera=camera,
    )
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return File(f"{subject.name}.png", "image/png", buffer.getvalue())


def scene_file(session: Session, camera: Camera) -> File:
    """The view as a scene file that `tensorview render` and `tensorview explore` open."""
    from ..scene_file import SAMPLE, SceneFile

    drawn = data_url(session.preview, most=4096) or None
    shown = drawn if session.sample is None else f"{SAMPLE}{session.sample}"
    written = SceneFile.of(session.subject, session.scene, camera, input=shown)
    return File(f"{session.subject.name}.toml", "application/toml", written.text().encode())
