"""Arrays as NumPy saves them, and what is said of those that are none."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pdiff.context import Context
from pdiff.errors import UserError
from pdiff.testing import check_component
from pdiff_plugins.tables.arrays import Arrays

X, Y = np.arange(120.0).reshape(40, 3), np.arange(40) % 4


def loaded(folder, seed: int = 0, **options):
    own = {"path": "data.npz", "predict": "classes"}
    return Arrays(**own | options).load(Context(seed=seed, data_root=folder))


def everything(split):
    return split.batch(torch.arange(len(split)), torch.device("cpu"))


def test_one_pair_is_cut_and_pairs_of_their_own_are_kept(tmp_path) -> None:
    np.savez(tmp_path / "data.npz", x=X, y=Y)
    data = loaded(tmp_path)
    assert [len(s) for s in (data.train, data.validation, data.test)] == [26, 6, 8]
    assert (data.input_shape, data.outputs) == ((3,), 4)
    parts = [everything(split) for split in (data.train, data.validation, data.test)]
    assert sorted(torch.cat([part.inputs for part in parts])[:, 0].tolist()) == X[:, 0].tolist()
    assert all(torch.equal(part.targets, (part.inputs[:, 0] / 3).long() % 4) for part in parts)
    np.savez(tmp_path / "data.npz", x_train=X[:30], y_train=Y[:30], x_test=X[30:], y_test=Y[30:])
    data = loaded(tmp_path)
    assert torch.equal(everything(data.test).inputs, torch.from_numpy(X[30:]))
    assert len(data.train) + len(data.validation) == 30 and len(data.validation) == 6
    np.savez(tmp_path / "data.npz", x_train=X[:20], y_train=Y[:20], x_validation=X[20:30], y_validation=Y[20:30],
             x_test=X[30:], y_test=Y[30:])  # fmt: skip
    data = loaded(tmp_path)
    assert torch.equal(everything(data.validation).inputs, torch.from_numpy(X[20:30])) and len(data.train) == 20


def test_images_of_bytes_are_scaled_and_turned(tmp_path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 5, 6, 3), dtype=np.uint8)
    np.savez(tmp_path / "data.npz", x=pixels, y=Y)
    data = loaded(tmp_path, channels_last=True, validation=0.0)
    x = everything(data.test).inputs
    assert x.shape[1:] == data.input_shape == (3, 5, 6) and x.dtype == torch.float32
    known = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
    assert all(any(torch.equal(image, each) for each in known) for image in x)
    np.savez(tmp_path / "data.npz", x=pixels[..., 0], y=Y)  # as mnist.npz: no channels
    assert loaded(tmp_path, shape=(1, 5, 6)).example().shape == (2, 1, 5, 6)


def test_tokens_stay_whole_and_several_inputs_have_names(tmp_path) -> None:
    ids = np.arange(80, dtype=np.int64).reshape(40, 2)
    np.savez(tmp_path / "data.npz", ids=ids, extra=X, price=X[:, :2])
    data = loaded(tmp_path, inputs=("ids", "extra"), target="price", predict="numbers")
    given = everything(data.train)
    assert given.inputs["ids"].dtype == torch.int64 and data.input_shape == {"ids": (2,), "extra": (3,)}
    assert torch.equal(given.inputs["ids"][:, 0] * 3 / 2, given.inputs["extra"][:, 0]) and data.outputs == 2


def test_the_contract_of_datasets(tmp_path) -> None:
    np.savez(tmp_path / "data.npz", ids=np.arange(80).reshape(40, 2), x=X.astype(np.float32), y=Y)
    for inputs in ("x", ("ids", "x")):
        check_component(Arrays(path="data.npz", predict="classes", inputs=inputs), data_root=tmp_path)


FAULTS = {
    "object": ({"x": np.array([{}, 1], dtype=object), "y": Y[:2]}, {}, "no .npz file of plain arrays"),
    "text": ({"x": np.array(["a", "b"]), "y": Y[:2]}, {}, "x of data.npz is of type <U1; it must hold numbers"),
    "complex": ({"x": X * 1j, "y": Y}, {}, "x of data.npz is of type complex128; it must hold numbers"),
    "name": ({"x": X, "label": Y}, {}, r"has no array 'y' \(x, label\)"),
    "length": ({"x": X, "y": Y[:9]}, {}, r"x has shape \[40, 3\] and y \[9\]; there must be as many"),
    "split": ({"x_train": X, "y_train": Y, "y_test": Y}, {}, "has no array 'x_test'"),
    "quantity": ({"x": X, "y": 1e6 * Y}, {}, "different values, too many to be classes; .* predict = 'numbers'"),
    "shape": ({"x": X, "y": Y}, {"shape": (2, 2)}, r"an example of x with shape \[3\] cannot be \[2, 2\]"),
    "no images": ({"x": X, "y": Y}, {"channels_last": True}, r"x has shape \[40, 3\], which are no images"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_wrong_with_arrays_is_one_line(tmp_path, fault: str) -> None:
    arrays, options, says = FAULTS[fault]
    np.savez(tmp_path / "data.npz", **arrays)
    with pytest.raises(UserError, match=says):
        loaded(tmp_path, **options)


@pytest.mark.parametrize(("x", "y"), [(">f8", ">i4"), ("g", "u4"), ("u2", "u8"), ("?", "?")])
def test_numbers_of_any_type_are_read(tmp_path, x: str, y: str) -> None:
    np.savez(tmp_path / "data.npz", x=X.astype(x), y=(Y % 2).astype(y))
    data = loaded(tmp_path)
    given, targets = everything(data.train)
    wanted = everything(loaded_plain(tmp_path, X.astype(x).astype("f8"), Y % 2).train)
    assert torch.equal(given.double(), wanted.inputs) and torch.equal(targets.long(), wanted.targets)
    assert data.outputs == 2


def loaded_plain(folder, x, y):
    np.savez(folder / "data.npz", x=x, y=y)
    return loaded(folder)


def test_a_file_that_is_no_archive_or_damaged_is_refused(tmp_path) -> None:
    np.savez(tmp_path / "whole.npz", x=X, y=Y)
    whole = (tmp_path / "whole.npz").read_bytes()
    for content in (b"", b"x,y\n", whole[:200], whole[:-30]):
        (tmp_path / "data.npz").write_bytes(content)
        with pytest.raises(UserError, match=r"no \.npz file of plain arrays"):
            loaded(tmp_path)
    np.save(tmp_path / "x.npy", X)
    with pytest.raises(UserError, match=r"no \.npz file of plain arrays"):
        loaded(tmp_path, path="x.npy")
