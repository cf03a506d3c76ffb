"""Files of checkpoints as they are: what lies in them is read, and nothing of it is run."""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pdiff.errors import UserError
from pdiff.files import check_opens, load_tensors, read_json

if TYPE_CHECKING:
    from torch import Tensor

ENDINGS = (".safetensors", ".pt", ".pth", ".bin", ".ckpt", ".tar")
"""Of files that hold checkpoints; `.pth.tar` is one of torch's too."""
WHOLE = ("model", "pytorch_model", "adapter_model", "diffusion_pytorch_model", "open_clip_model")
"""Names, without their ending, of the file of weights in a folder that is one network."""
HARMLESS = """
argparse.Namespace types.SimpleNamespace decimal.Decimal fractions.Fraction uuid.UUID builtins.list builtins.dict
builtins.int builtins.float builtins.bool builtins.str builtins.tuple builtins.slice builtins.range
datetime.datetime datetime.date datetime.time datetime.timedelta datetime.timezone torch.torch_version.TorchVersion
numpy.ndarray numpy.dtype numpy.core.multiarray.scalar numpy.core.multiarray._reconstruct
numpy._core.multiarray.scalar numpy._core.multiarray._reconstruct
"""
"""Classes and functions of what lies beside the tensors: they are known by name, and never called."""


class Passed:
    """What stands for an object beside the tensors; nothing of it is kept."""

    def __new__(cls, *_: Any, **__: Any) -> Passed:
        return object.__new__(cls)

    def __setstate__(self, _: Any) -> None:
        """Keep nothing."""


def _stand_ins() -> list[Callable[..., Any] | tuple[Callable[..., Any], str]]:
    """Return what is read in the place of each harmless class, with the class's name."""
    import numpy

    paths = ("Path", "PurePath", "PosixPath", "PurePosixPath", "WindowsPath", "PureWindowsPath")
    names = [*HARMLESS.split(), *(f"{module}.{name}" for module in ("pathlib", "pathlib._local") for name in paths)]
    names += [f"numpy.dtypes.{name}" for name in dir(numpy.dtypes) if name.endswith("DType")]
    names += [f"numpy.{name}" for name in ("float64", "float32", "float16", "int64", "int32", "bool_", "str_")]

    def mapping(*_: Any) -> dict[Any, Any]:
        return {}

    def listing(*_: Any) -> list[Any]:
        return []

    return [*((Passed, name) for name in names), (mapping, "collections.defaultdict"), (listing, "collections.deque")]


def weights_in(folder: Path) -> tuple[Path, ...]:
    """Return the files of weights of a folder that is one network: shards with an index, or one of a known name.

    Empty where it is none. Raises UserError for a damaged index, and for a shard that is not there.
    """
    for ending in (".safetensors", ".bin"):
        if index := _index(folder, ending):
            files = tuple(folder / name for name in dict.fromkeys(_shards(index).values()))
            if lost := next((file.name for file in files if not file.is_file()), None):
                raise UserError(f"{index}: names the file {lost!r}, which is not there; fetch the whole folder again")
            return files
        whole = [folder / f"{stem}{ending}" for stem in WHOLE]
        if file := next((file for file in whole if file.is_file()), None):
            return (file,)
    return ()


def _index(folder: Path, ending: str) -> Path | None:
    return next(iter(sorted(folder.glob(f"*{ending}.index*.json"))), None)


def _shards(index: Path) -> dict[str, str]:
    """Return which file of the folder holds which entry."""
    about = read_json(index)
    names = about.get("weight_map") if isinstance(about, Mapping) else None
    names = names if isinstance(names, Mapping) else {}
    if not names or not all(isinstance(file, str) and Path(file).name == file for file in names.values()):
        raise UserError(f"{index}: does not say which file holds which entry (weight_map); it is damaged")
    return dict(names)


def opened(path: Path) -> Any:
    """Return what a file holds, or a folder that is one network: tensors by name, perhaps within other mappings.

    Files are read with `weights_only=True`; of harmless standard classes nothing is kept. Raises UserError for a
    missing, damaged or code-carrying file.
    """
    if not path.is_dir():
        check_opens(path)
        return load_tensors(path) if path.suffix == ".safetensors" else _unpickled(path)
    files = weights_in(path)
    if not files:
        raise UserError(f"{path}: is a folder without one network's weights ({', '.join(WHOLE)}); name the file")
    if len(files) == 1:
        return opened(files[0])
    state: dict[str, Tensor] = {}
    for file in files:
        state |= opened(file)
    index = _index(path, ".safetensors") or _index(path, ".bin")
    if lost := next((key for key in _shards(index) if key not in state), None) if index else None:
        raise UserError(f"{index}: names {lost!r}, which no file holds; fetch the whole folder again")
    return state


def _unpickled(path: Path) -> Any:
    import torch

    try:
        with torch.serialization.safe_globals(_stand_ins()):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        named = re.search(r"GLOBAL ([\w.]+)", str(error))
        what = "more than tensors" + (f", an object of {named[1]}" if named else "")
        raise UserError(
            f"{path}: holds {what}, and pdiff runs no code from a checkpoint; "
            "save it as torch.save(model.state_dict(), ...) or as .safetensors"
        ) from None
    except Exception as error:  # a damaged zip or pickle can fail in any way
        why = " ".join(f"{type(error).__name__} {error}".split())[:120]
        raise UserError(f"{path}: not a whole checkpoint file ({why}); it is truncated or something else") from None
