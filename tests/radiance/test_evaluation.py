"""What is said of scenes: as sets, one by one, and where nothing can be compared."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from skimage.metrics import structural_similarity
from torch import nn
from torchmetrics.functional.image.lpips import _LPIPS

from pdiff.context import Context
from pdiff.errors import UserError
from pdiff.testing import tiny_run
from pdiff.view import ORIGINAL
from pdiff.zoo import Layout, Zoo
from pdiff_plugins.radiance.evaluation import findings
from pdiff_plugins.radiance.evaluation.evaluator import Scenes
from pdiff_plugins.radiance.evaluation.files import files, missing
from pdiff_plugins.radiance.evaluation.names import REAL
from pdiff_plugins.radiance.evaluation.scoring import scores_of
from pdiff_plugins.radiance.evaluation.similarity import lpips_of, ssim
from tests.radiance.helpers import DESCRIBED, SCENES

LEARNT, HELD_OUT, OTHERS = range(60), range(60, 120), range(120, 180)


def uniform(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def view_of(sources: dict[str, list[float]], held_out: range = HELD_OUT, segments: int = 2) -> Any:
    """Return a run whose networks are one number each: that of the scene whose true pictures they draw."""
    targets_ESW = (uniform(20, 3, 3) @ (uniform(3, 180, seed=1) - 0.5)).permute(0, 2, 1).sigmoid()  # [E, 3, S] -> ESW

    def predict(theta_MD: torch.Tensor, split: str) -> torch.Tensor:
        return targets_ESW[:, theta_MD[:, 0].long()].transpose(0, 1)

    def zoo_of(scenes: range) -> Zoo:
        rows = [{"about": {"shape": number, "label": "ball"}, "metrics": {}} for number in scenes]
        return Zoo(torch.tensor(scenes).float()[:, None], layout, state, rows)

    linear = nn.Linear(1, 1, bias=False)
    state, layout = linear.state_dict(), Layout.of(linear, ["weight"])
    zoo = zoo_of(LEARNT)
    zoo.holdout = zoo_of(held_out) if held_out else None
    split = SimpleNamespace(segments=torch.zeros(20, *[1] * (segments - 2), 6))
    return SimpleNamespace(
        zoo=zoo, bench=SimpleNamespace(predict=predict, examples=lambda name: split), method="real",
        targets=lambda name: targets_ESW,
        theta={name: torch.tensor(numbers).float()[:, None] for name, numbers in {ORIGINAL: LEARNT, **sources}.items()},
    )  # fmt: skip


def test_other_real_scenes_cannot_be_told_apart_copies_are_found_and_one_scene_is_no_set() -> None:
    scores = scores_of(view_of({"real": [*OTHERS], "copy": [*LEARNT], "one": [120] * 60}), "", Context(seed=0))
    networks, real = scores["networks"], scores["beside"][REAL]
    assert scores["kind"] == "sets" and scores["count"] == 60
    for row in (networks["real"], real, networks[ORIGINAL]):
        assert 0.35 < row["one_nna"] < 0.65 and row["precision"] > 0.7 and row["recall"] > 0.7
    assert networks["real"]["copies"] < 0.1 and networks["copy"]["copies"] == 1
    assert networks[ORIGINAL]["copies"] is None and networks["copy"]["to_learnt"] == pytest.approx(100)
    assert networks["one"]["one_nna"] > 0.9 and networks["one"]["recall"] == 0
    said = findings.headline("one", networks, scores)
    assert said.startswith("scenes of one are told from unseen real ones in 9") and "does better" in said
    other = {name: row for name, row in networks.items() if name != "copy"}
    assert "no control does as well (the best, one: 9" in findings.headline("real", other, scores)


def test_nothing_is_compared_where_nothing_is_held_out_or_cameras_differ() -> None:
    sources = {"real": [*OTHERS]}
    for view, line in (
        (view_of(sources, range(0)), "others that were held out, and none were; write collect.held_out"),
        (view_of(sources, segments=3), "each scene has cameras of its own"),
    ):
        scores = scores_of(view, "", Context(seed=0))
        assert scores["kind"] == "" and not any(scores["networks"]["real"].values())
        assert [line in note for note in findings.notes(scores)] == [True]
        assert findings.headline("real", scores["networks"], scores) == ""


def test_structural_similarity_is_that_of_another_implementation() -> None:
    a_BHWC = uniform(3, 16, 14, 3)
    b_BHWC = (
        a_BHWC + torch.tensor([0.0, 0.1, 0.5])[:, None, None, None] * (uniform(3, 16, 14, 3, seed=1) - 0.5)
    ).clamp(0, 1)
    theirs = [
        structural_similarity(
            a.double().numpy(), b.double().numpy(), channel_axis=-1, gaussian_weights=True, sigma=1.5, data_range=1,
            use_sample_covariance=False,
        )
        for a, b in zip(a_BHWC, b_BHWC, strict=True)
    ]  # fmt: skip
    ours = ssim(a_BHWC, b_BHWC)
    assert ours.tolist() == pytest.approx(theirs, abs=1e-6) and float(ours[0]) == pytest.approx(1)


def test_lpips_is_that_of_another_implementation_from_the_same_files(tmp_path) -> None:
    theirs = _LPIPS(net="alex", pretrained=True, pnet_rand=True, eval_mode=True)
    layers = (layer for part in theirs.net.slices for layer in part) if hasattr(theirs.net, "slices") else ()
    convolutions = [layer for layer in layers or theirs.net.modules() if isinstance(layer, nn.Conv2d)]
    places = (0, 3, 6, 8, 10)
    alexnet = {
        f"features.{place}.{key}": value
        for place, layer in zip(places, convolutions, strict=True) for key, value in layer.state_dict().items()
    }  # fmt: skip
    heads = {f"lin{number}.model.1.weight": head.model[-1].weight for number, head in enumerate(theirs.lins)}
    assert "there is no alexnet" in missing(files(str(tmp_path)))
    for path, state in zip(files(str(tmp_path)), (alexnet, heads), strict=True):
        torch.save({key: value.detach() for key, value in state.items()}, path)
    a_BHWC, b_BHWC = uniform(2, 64, 64, 3), uniform(2, 64, 64, 3, seed=1)
    with torch.no_grad():
        ours = lpips_of(files(str(tmp_path)))(a_BHWC, b_BHWC)
        known = theirs(*(2 * x.movedim(-1, 1) - 1 for x in (a_BHWC, b_BHWC))).flatten()
    torch.testing.assert_close(ours, known, rtol=1e-4, atol=1e-6)
    torch.save({"other": torch.zeros(1)}, files(str(tmp_path))[1])
    with pytest.raises(UserError, match=r"do not hold its weights; load them anew"):
        lpips_of(files(str(tmp_path)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return where runs are kept that share their checkpoints."""
    return tmp_path_factory.mktemp("runs")


def test_scenes_asked_for_by_label_are_judged_as_sets(folder) -> None:
    scores = tiny_run(folder, **SCENES).evaluate(Scenes())
    assert scores["kind"] == "sets" and not scores["missing"]
    assert 0 <= scores["networks"]["neighbours"]["right_class"] <= 1
    assert scores["networks"]["copy"]["right_class"] is None, "it takes no label"
    assert scores["beside"][REAL]["right_class"] is not None


def test_scenes_that_conditions_tell_apart_are_judged_picture_by_picture(folder) -> None:
    scores = tiny_run(folder, **SCENES | DESCRIBED).evaluate(Scenes())
    networks = scores["networks"]
    assert scores["kind"] == "pictures" and set(networks) == {ORIGINAL, "neighbours", "copy"}
    assert all(-1 <= row["ssim"] <= 1 and len(row["ssim_views"]) == 2 for row in networks.values())
    assert networks["neighbours"]["ssim"] == pytest.approx(sum(networks["neighbours"]["ssim_views"]) / 2)
    assert set(scores["gains"]) == {ORIGINAL, "copy"}
    assert findings.headline("neighbours", networks, scores).startswith("pictures of 6 unseen scenes, as neighbours")
