"""The recipe of a timm network with its head: its table of classes, and the published weights."""

from __future__ import annotations

import pytest
import torch
from timm.data import ImageNetInfo

from pdiff.checkpoints.reading import load_state
from pdiff.data import evaluation_batches
from pdiff.recipe.loading import find_recipe, load_recipe
from tests.helpers import SHARED
from tests.images.helpers import CPU, context

RECIPE = find_recipe("efficientnet_lite0_imagenette")
WEIGHTS, IMAGES = SHARED / "weights" / "efficientnet_lite0.safetensors", SHARED / "imagenette224"


def test_its_table_counts_wordnet_ids_as_imagenet_does():
    classes, imagenet = load_recipe(RECIPE).dataset.classes, ImageNetInfo("imagenet-1k")
    assert len(classes) == 10
    assert {imagenet.index_to_label_name(number): number for number in classes.values()} == classes


@pytest.mark.slow
@pytest.mark.skipif(not (WEIGHTS.is_file() and IMAGES.is_dir()), reason="PDIFF_SHARED_DATA holds no imagenette224")
def test_it_begins_with_the_published_accuracy():
    """72.8 % among a thousand classes and 97.8 % among the ten, on 500 images of ImageNet's validation set."""
    recipe = load_recipe(RECIPE, {"dataset.root": str(IMAGES)})
    splits = recipe.dataset.load(context())
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (1800, 200, 500)
    network = recipe.architecture.build(input_shape=splits.input_shape, outputs=splits.outputs).eval()
    network.load_state_dict(load_state(WEIGHTS), strict=True)
    ten = torch.tensor(list(recipe.dataset.classes.values()))
    with torch.no_grad():
        logits = torch.cat([network(batch.inputs) for batch in evaluation_batches(splits.test, 50, CPU)])
    targets = splits.test.targets
    assert (logits.argmax(1) == targets).sum() == pytest.approx(364, abs=1)
    assert (ten[logits[:, ten].argmax(1)] == targets).sum() == pytest.approx(489, abs=1)
