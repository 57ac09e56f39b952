"""Load a file of weights into a model, without running code that the file may carry."""

from __future__ import annotations

import pickle
import pickletools
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import IO, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from ..errors import OpenError, TrustRequired
from .archives import check_archive
from .local import local

_WRAPPERS = ("state_dict", "model_state_dict", "model")  # what training scripts save the weights under
_PREFIXES = ("module.", "_orig_mod.", "model.")  # DataParallel, torch.compile, Lightning
OPTIMIZER = "optimizer/"  # what the training lab puts before the names of an optimiser's tensors, beside the weights
_NAMING = ("GLOBAL", "STACK_GLOBAL", "INST", "EXT1", "EXT2", "EXT4")  # what in a pickle stands for Python's own names
_MOST_WRAPPERS = 8
_SHOWN = 3


def load_weights(module: nn.Module, path: str | Path, trust: bool = False) -> None:
    """Load weights into `module`, in place.

    Args:
        module: the model.
        path: .safetensors, or what `torch.save` wrote: a state dict, alone or under "state_dict" or "model".
        trust: load a pickle that needs to run code.

    Raises:
        OpenError: the file is missing or broken, or its weights do not fit.
        TrustRequired: the file is a pickle that needs to run code.
    """
    path = Path(local(path))
    if not path.is_file():
        raise OpenError(f"{path} is a folder, not a file of weights." if path.is_dir() else f"There is no file {path}.")
    is_safe = path.suffix.lower() == ".safetensors"
    found = _read_safetensors(path) if is_safe else _unwrap(path, read_torch(path, trust))
    if not found:
        raise OpenError(f"{path} holds no weights.")
    found = _without_prefix(found, set(module.state_dict()))
    _check(module, found, path)
    try:
        module.load_state_dict(found, strict=False)
    except (RuntimeError, TypeError, NotImplementedError) as error:
        raise OpenError(f"{path} does not load into {type(module).__name__}: {_first_line(error)}") from error


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return {name: value for name, value in load_file(path).items() if not name.startswith(OPTIMIZER)}
    except (SafetensorError, OSError, ValueError, KeyError, MemoryError) as error:
        raise OpenError(f"{path} is not a whole safetensors file: {_first_line(error)}") from error


def weights_alone(path: str | Path) -> str:
    """What to say of a file that holds weights where a model is asked for."""
    return (
        f"{path} holds weights alone, not a model: name the model and give them to it, as "
        f"net.py:Net --weights {Path(path).name}."
    )


def read_torch(path: Path, trust: bool) -> Any:
    """What `torch.save` wrote, on the CPU; errors are those of `load_weights`."""
    check_archive(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of a pickle's version, before an error says more
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch's readers raise whatever a broken file brings them to
        if not _is_pickle(path):
            raise OpenError(f"{path} is neither a safetensors file nor one that torch.save wrote.") from error
        if not isinstance(error, pickle.UnpicklingError) or not (trust or _names_code(path)):
            raise OpenError(f"{path} is not a whole file of PyTorch weights: {_reason(error)}") from error
    if not trust:
        raise TrustRequired(
            f"{path} is a pickle that holds more than weights, so loading it can run any code in it: "
            "if you trust where it comes from, load it with --trust (trust=True)."
        )
    try:
        return torch.load(path, map_location="cpu", weights_only=False)
    except Exception as error:  # the code in the pickle can raise anything
        raise OpenError(f"{path} cannot be loaded: {type(error).__name__}: {_first_line(error)}") from error


def _is_pickle(path: Path) -> bool:
    if zipfile.is_zipfile(path):
        return True
    with path.open("rb") as file:
        return file.read(2).startswith((pickle.PROTO, b"PK"))  # or a zip archive that was cut short


def _names_code(path: Path) -> bool:
    """Whether a pickle is whole and names classes or functions. It is looked through, not loaded."""
    try:
        if not zipfile.is_zipfile(path):
            with path.open("rb") as file:
                # Before zip archives, three pickles stood in front: a magic number, a version, the machine's sizes.
                return any(_names_code_in(file) for _ in range(4))
        with zipfile.ZipFile(path) as archive:
            name = next(name for name in archive.namelist() if PurePosixPath(name).name == "data.pkl")
            with archive.open(name) as file:
                return _names_code_in(file) and not file.read()  # the checksum is compared at the end
    except Exception:  # what is damaged can raise anything
        return False


def _names_code_in(file: IO[bytes]) -> bool:
    return sum(code.name in _NAMING for code, *_ in pickletools.genops(file)) > 0


def _unwrap(path: Path, found: Any) -> dict[str, Tensor]:
    """The state dict in what `torch.load` gave."""
    for _ in range(_MOST_WRAPPERS):
        inner = (found.get(key) for key in _WRAPPERS) if isinstance(found, Mapping) else ()
        found = next((each for each in inner if isinstance(each, Mapping | nn.Module)), found)
    if isinstance(found, nn.Module):
        return found.state_dict()
    if not isinstance(found, Mapping) or not found:
        raise OpenError(f"{path} holds a {type(found).__name__}, not a state dict (names -> tensors).")
    odd = [str(key) for key, value in found.items() if not isinstance(value, Tensor)]
    if odd:
        raise OpenError(f"{path} holds no state dict: {_some(odd)} is no tensor there.")
    return {str(key): value for key, value in found.items()}


def _without_prefix(found: dict[str, Tensor], wanted: set[str]) -> dict[str, Tensor]:
    """The same weights without a wrapper's prefix that the model itself does not have."""
    for prefix in _PREFIXES:
        if found and all(key.startswith(prefix) for key in found) and not any(key.startswith(prefix) for key in wanted):
            return _without_prefix({key.removeprefix(prefix): value for key, value in found.items()}, wanted)
    return found


def _check(module: nn.Module, found: dict[str, Tensor], path: Path) -> None:
    wanted = module.state_dict(keep_vars=True)
    missing = [key for key in wanted if key not in found and not _may_miss(key, wanted, found)]
    unexpected = [key for key in found if key not in wanted]
    shapes = [
        f"{key} is {_shape(found[key])} in the file, {_shape(value)} in the model"
        for key, value in wanted.items()
        if key in found and not is_lazy(value) and found[key].shape != value.shape
    ]
    faults = [f"missing: {_some(missing)}"] if missing else []
    faults += [f"unexpected: {_some(unexpected)}"] if unexpected else []
    faults += [_some(shapes)] if shapes else []
    if faults:
        raise OpenError(f"{path} does not fit {type(module).__name__}: {'; '.join(faults)}.")


def _may_miss(key: str, wanted: dict[str, Tensor], found: dict[str, Tensor]) -> bool:
    """A counter that old files lack, or a weight that shares its memory with one that the file has."""
    if key.endswith("num_batches_tracked"):
        return True
    value = wanted[key]
    if is_lazy(value) or value.numel() == 0:
        return False
    return any(other in found and _same_memory(value, wanted[other]) for other in wanted if other != key)


def _same_memory(a: Tensor, b: Tensor) -> bool:
    return not is_lazy(b) and a.data_ptr() == b.data_ptr() and a.shape == b.shape


def _shape(tensor: Tensor) -> str:
    return " x ".join(map(str, tensor.shape)) or "a single number"


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _reason(error: Exception) -> str:
    """Why torch could not read a file. Of most errors the message is a bare number or name."""
    if not isinstance(error, RuntimeError | OSError | ValueError) or " " not in str(error):
        return "it is damaged, or none that torch.save wrote."
    return _first_line(error).split(". ")[0].rstrip(".") + "."  # the next sentence advises to load it all the same


def _first_line(error: BaseException) -> str:
    """The start of another library's message, with one full stop."""
    line = (str(error).strip() or type(error).__name__).splitlines()[0]
    return line[:200].rstrip(" .") + "."
