"""Scene files: a .toml that says which model is shown with which input, what is open, and how it is seen."""

from __future__ import annotations

import base64
import difflib
import os
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from .errors import OpenError, SceneError, TrustRequired
from .scene import Camera, Look, Scene
from .scene_toml import MAX_TITLE, VERSION, checked, read_toml, toml_text

if TYPE_CHECKING:
    import numpy as np
    import torch

    from .capture import Trace
    from .opening import Subject

SUFFIX = ".toml"
SAMPLE = "sample:"
INLINE = "data:image/png;base64,"
FIRST_SAMPLE = 7
_DIGITS = 20  # of a sample's number
_LOOK = ("theme", "encoding", "scaling", "value_range", "arrangement", "aggregate", "sort", "most_maps")


class Opened(NamedTuple):
    """What a scene file stands for."""

    subject: Subject
    trace: Trace
    scene: Scene


@dataclass(frozen=True)
class SceneFile:
    """What a scene file says.

    Attributes:
        model: as `open_model` takes it: "lenet5", "net.py:Net", "torchvision:resnet18".
        weights: path of a file of weights; None for the model's own.
        random_weights: whether the weights are left as the constructor drew them.
        input_shape: of one input, without the batch dimension; None for what the model says.
        input: path of an image or a .npy file; "sample:7" for one of the model's samples, counted from 0; a picture
            itself as a "data:image/png;base64," address, which the model receives as it is; None for sample 7, the
            last one where there are fewer, and zeros where there is none.
        open: names of the layers that show every map; "*" opens all.
        expanded: names of the modules whose parts are shown one by one; None for about twenty boxes.
        theme, encoding, scaling, value_range, arrangement, aggregate, sort, most_maps, hidden: as in `Look`.
        title: a line for pictures.
        camera: None for the first view.
        source: the file that this was read from. Paths are relative to it there, and to the working directory here.
    """

    model: str
    weights: str | None = None
    random_weights: bool = False
    input_shape: tuple[int, ...] | None = None
    input: str | None = None
    open: tuple[str, ...] = ()
    expanded: tuple[str, ...] | None = None
    theme: str = "dark"
    encoding: str = "kind"
    scaling: str = "layer"
    value_range: tuple[float, float] = (0.0, 1.0)
    arrangement: str = "grid"
    aggregate: str = "mean"
    sort: str = "index"
    most_maps: int = 0
    hidden: tuple[str, ...] = ()
    title: str | None = None
    camera: Camera | None = None
    source: Path | None = None

    # Reading and writing -------------------------------------------------------------------------------------------

    @classmethod
    def load(cls, spec: str | os.PathLike[str]) -> SceneFile:
        """Read a scene file.

        Args:
            spec: its path, or the name of one that ships, as "lenet5-open".

        Raises:
            OpenError: there is no such file, or it says what a scene file cannot say.
        """
        path = scene_path(spec)
        said = read_toml(path)
        try:
            read = cls(**checked(said), source=path)
            read.look()
        except (OpenError, SceneError) as error:
            raise OpenError(f"{path}: {error}") from error
        return read._with_paths(lambda name: os.path.normpath(path.parent / name))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a scene file; a reader sees the old file or the whole new one.

        Raises:
            OpenError: it cannot be written.
        """
        path = Path(path)
        unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            text = self._with_paths(lambda name: _relative(name, path.parent)).text()
            unfinished.write_text(text, encoding="utf-8", newline="\n")
            unfinished.replace(path)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise OpenError(f"The scene cannot be saved as {path}: {reason}.") from error
        finally:
            unfinished.unlink(missing_ok=True)

    def text(self) -> str:
        """The text of the file, paths as they are here; what is as by default is left out.

        Raises:
            ValueError: a number is not finite, or a text is no Unicode.
        """
        keys: dict[str, Any] = {"version": VERSION}
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name not in ("camera", "source") and value != field.default:
                keys[field.name] = value
        return toml_text(keys, {"camera": vars(self.camera)} if self.camera else {})

    @classmethod
    def of(cls, subject: Subject, scene: Scene, camera: Camera | None = None, *, input: str | None = None) -> SceneFile:
        """A view as a scene file.

        Args:
            camera: where the view is seen from; None for the scene's own.
            input: what was shown, as the attribute says it.
        """
        look, order = scene.look, [layer.name for layer in scene.all_layers]
        usual = look.expanded == scene.modules.first_view()
        origin = subject.origin
        return cls(
            model=subject.name if origin is None else origin.spec,
            weights=None if origin is None else origin.weights,
            random_weights=origin is not None and origin.random_weights,
            input_shape=None if origin is None else origin.input_shape,
            input=input,
            open=tuple(name for name in order if name in look.open),
            expanded=None if usual else tuple(name for name in scene.modules.names if name in (look.expanded or ())),
            hidden=tuple(name for name in order if name in look.hidden),
            title=subject.title[:MAX_TITLE] or None,
            camera=camera or scene.camera,
            **{name: getattr(look, name) for name in _LOOK if name != "theme"},
            theme=scene.theme.name,
        )

    # Opening -------------------------------------------------------------------------------------------------------

    def subject(self, trust: bool = False) -> Subject:
        """The model. Raises what `open_model` raises.

        Args:
            trust: run a Python file that a scene file names, and load weights from a pickle that needs to run code.

        Raises:
            TrustRequired: the scene was read from a file and names a Python file.
        """
        from .opening import open_model

        if self.source is not None and _is_python(self.model) and not trust:
            raise TrustRequired(
                f"{self.source} names the Python file {self.model}, which is run when it is opened: "
                "say --trust (trust=True) if you trust both."
            )
        return open_model(
            self.model,
            weights=self.weights,
            trust=trust,
            input_shape=self.input_shape,
            random_weights=self.random_weights,
        )

    def tensor(self, subject: Subject) -> torch.Tensor:
        """The subject's input `(1, *subject.input_spec.shape)`.

        Raises:
            OpenError: there is no such sample, or the file is no input for the model.
        """
        import torch

        if self.input is not None and self.input.startswith(INLINE):
            return subject.preprocess(_inline(self.input), prepare=False)
        if self.input is not None and not self.input.startswith(SAMPLE):
            return subject.read(self.input)
        if self.input is None and not subject.samples:
            spec = subject.input_spec
            return torch.zeros(1, *spec.shape, dtype=getattr(torch, spec.dtype))
        last = len(subject.samples) - 1
        number = self.input.removeprefix(SAMPLE) if self.input else str(min(FIRST_SAMPLE, last))
        is_number = number.isascii() and number.isdigit() and len(number) <= _DIGITS
        if not (is_number and int(number) < len(subject.samples)):
            has = f"{SAMPLE}0 to {SAMPLE}{last}" if subject.samples else "none"
            said = f"{SAMPLE}{number if len(number) <= _DIGITS else number[:_DIGITS] + '...'}"
            raise OpenError(f"{subject.name} has no {said}; it has {has}.")
        return subject.preprocess(subject.samples[int(number)].image)

    def look(self, class_names: tuple[str, ...] = ()) -> Look:
        """How the trace is shown, without what is open.

        Raises:
            SceneError: a choice does not exist.
        """
        expanded = None if self.expanded is None else frozenset(self.expanded)
        choices = {name: getattr(self, name) for name in _LOOK}
        return Look(class_names=class_names, expanded=expanded, hidden=frozenset(self.hidden), **choices)

    def scene(self, trace: Trace, subject: Subject, aspect: float = 16 / 9) -> Scene:
        """The scene of a trace; of a pass that failed, those layers are open that ran. Raises what `Scene` raises."""
        names: list[str] = [name for name in self.open if trace.error is None or name in trace]
        return Scene(trace, names, look=self.look(subject.class_names), camera=self.camera, aspect=aspect)

    def build(self, trust: bool = False, aspect: float = 16 / 9) -> Opened:
        """Open the model, run it once, and lay out the scene.

        Args:
            trust: as in `subject`.
            aspect: width over height that the first view fits.

        Raises:
            OpenError: model, weights or input cannot be opened; TrustRequired or MissingExtra as `open_model` does.
            CaptureError: the forward pass failed.
            SceneError: there is no layer of that name to open.
        """
        from .capture import capture

        subject = self.subject(trust)
        trace = capture(subject.module, subject.complete(self.tensor(subject)))
        return Opened(subject, trace, self.scene(trace, subject, aspect))

    def _with_paths(self, change: Callable[[str], str]) -> SceneFile:
        """A copy in which every path is changed."""
        from .opening import brings_weights  # loads torch

        path, colon, name = _split_model(self.model)
        is_file = _is_python(self.model) or brings_weights(self.model)
        return replace(
            self,
            model=change(path) + colon + name if is_file else self.model,
            weights=self.weights and change(self.weights),
            input=self.input if not self.input or self.input.startswith((SAMPLE, INLINE)) else change(self.input),
        )


def load_scene(spec: str | os.PathLike[str], trust: bool = False) -> Opened:
    """Open a scene file, by its path or by the name of one that ships: see `SceneFile.load` and `SceneFile.build`."""
    return SceneFile.load(spec).build(trust)


def shipped_scenes() -> tuple[str, ...]:
    """The names of the scene files that come with tensorview."""
    return tuple(sorted(path.stem for path in _shipped_folder().iterdir() if path.suffix == SUFFIX))


def scene_path(spec: str | os.PathLike[str]) -> Path:
    """The path of a scene file, which may be named as one that ships.

    Raises:
        OpenError: nothing is there.
    """
    path = Path(spec)
    if path.suffix == SUFFIX:
        return path
    names = shipped_scenes()
    if str(spec) in names:
        return _shipped_folder() / f"{spec}{SUFFIX}"
    near = difflib.get_close_matches(str(spec), names, 3, 0.4) or names
    raise OpenError(f"There is no scene {str(spec)!r}: name a {SUFFIX} file or one that ships, {', '.join(near)}.")


def _shipped_folder() -> Path:
    return Path(str(files("tensorview.scenes")))


def _split_model(model: str) -> tuple[str, str, str]:
    """Path, colon and name of "net.py:Net"; of anything else the whole as the path."""
    path, colon, name = model.rpartition(":")
    return (path, colon, name) if path.endswith(".py") else (model, "", "")


def _is_python(model: str) -> bool:
    return _split_model(model)[0].endswith(".py")


def _relative(name: str, folder: Path) -> str:
    try:
        return Path(os.path.relpath(name, folder)).as_posix()
    except ValueError:  # another drive
        return os.path.abspath(name)


def _inline(address: str) -> np.ndarray:
    """`(H, W)` or `(H, W, 3)` uint8: the picture in a `data:` address. Raises OpenError where it is none."""
    import numpy as np

    from .opening import open_image

    try:
        content = base64.b64decode(address.removeprefix(INLINE), validate=True)
    except ValueError:
        raise OpenError("the input of the scene is a data: address that is not base64; save the scene again") from None
    return np.asarray(open_image(content))
