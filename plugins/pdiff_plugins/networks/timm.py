"""Every image classifier of timm, with or without its pretrained weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from pdiff import hookimpl
from pdiff.components import Architecture
from pdiff.errors import UserError, did_you_mean
from pdiff.files import PRETRAINED
from pdiff_plugins.networks.inputs import image_shape
from pdiff_plugins.reach import Answer, ask_hub, ask_server, in_cache, in_torch_cache

if TYPE_CHECKING:
    from torch import Tensor, nn

    from pdiff.components import Ahead


HUB_FILES = ("model.safetensors", "pytorch_model.bin")
"""Of a repository of timm's on the hub, in the order in which timm looks for them."""


class TimmModel(Architecture):
    """Any network of timm, by its timm name."""

    name = "timm_model"
    source: ClassVar[str] = "timm; the presets are those of Wang et al. 2024, arXiv 2402.13144, Table 1"
    # With their tags, so that a timm release with another default tag starts from the same weights.
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "resnet18": {"model": "resnet18.a1_in1k"},
        "resnet50": {"model": "resnet50.a1_in1k"},
        "vit_tiny": {"model": "vit_tiny_patch16_224.augreg_in21k_ft_in1k"},
        "vit_base": {"model": "vit_base_patch16_224.augreg2_in21k_ft_in1k"},
        "convnext_tiny": {"model": "convnext_tiny.in12k_ft_in1k"},
        "convnext_base": {"model": "convnext_base.fb_in22k_ft_in1k"},
    }
    model: str = Field(
        examples=["resnet18"], description="timm name, with or without a tag, e.g. 'resnet18' or 'resnet18.a1_in1k'"
    )

    def foresee(self, ahead: Ahead) -> None:
        super().foresee(ahead)
        config = self._config()
        if self.weights == PRETRAINED and not self._there(config):
            answer = self._asked(config)
            if answer.why:
                raise self._unreachable(config, answer.why)
            ahead.fetches(f"weights {self._where(config)}{answer.said}")

    def build(self, *, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
        shape = image_shape(self.model, input_shape)
        config = self._config()
        options: dict[str, Any] = {"num_classes": outputs, "in_chans": shape[0]}
        resized = shape[1:] != config.input_size[1:]
        if config.fixed_input_size and resized:
            options["img_size"] = shape[1:]
        network = self._create(config, options, shape)
        if resized:
            self._try(network, shape)
        return network

    def converted(self, state: Mapping[str, Tensor], model: nn.Module) -> Mapping[str, Tensor]:
        """Take the names and sizes of other publishers' files, and files for other channels, as timm itself does."""
        import sys

        from timm.models import adapt_input_conv

        names_of = getattr(sys.modules[type(model).__module__], "checkpoint_filter_fn", None)
        new = dict(names_of(dict(state), model) if names_of else state)
        first = model.pretrained_cfg.get("first_conv") or ()  # type: ignore[union-attr, operator]
        for name in (f"{module}.weight" for module in ((first,) if isinstance(first, str) else first)):
            wanted, weight = model.state_dict()[name], new.get(name)
            if weight is not None and weight.ndim == 4 and weight.shape[1] != wanted.shape[1]:
                new[name] = adapt_input_conv(wanted.shape[1], weight)
        return new

    def classifier(self, model: nn.Module) -> tuple[str, ...]:
        """Return timm's own word for it."""
        names = model.pretrained_cfg.get("classifier") or super().classifier(model)  # type: ignore[union-attr, operator]
        return (names,) if isinstance(names, str) else tuple(names)

    def _config(self) -> Any:
        """Return timm's description of the model. Raises UserError for a name or a tag that timm does not know."""
        import timm

        base, _, tag = self.model.partition(".")
        if not timm.is_model(base):
            near = did_you_mean(base, timm.list_models())
            raise UserError(f"architecture.model: timm has no model {base!r}{near or '; see timm.list_models()'}")
        try:
            return timm.get_pretrained_cfg(self.model)
        except RuntimeError:
            tags = [name.partition(".")[2] for name in timm.list_pretrained(f"{base}.*")]
            raise UserError(
                f"architecture.model: timm's {base} has no tag {tag!r}, "
                f"it has {', '.join(tags) or 'none'}{did_you_mean(tag, tags)}"
            ) from None

    def _create(self, config: Any, options: dict[str, Any], shape: tuple[int, int, int]) -> nn.Module:
        import timm

        pretrained = self.weights == PRETRAINED
        if pretrained and not self._there(config) and (why := self._asked(config).why):
            raise self._unreachable(config, why)
        try:
            return timm.create_model(self.model, pretrained=pretrained, **options)
        except (TypeError, AssertionError, RuntimeError, ValueError) as error:
            raise self._misfit(shape, error) from None
        except Exception as error:
            if not pretrained:
                raise
            raise self._unreachable(config, _first_line(error)) from None

    def _there(self, config: Any) -> Path | None:
        """Return the file of pretrained weights where it was fetched before. Raises UserError where there is none."""
        if not config.has_weights:
            raise UserError(f'architecture.weights: {self.model} has no pretrained weights; name a file, or write ""')
        if config.hf_hub_id:
            files = (in_cache(config.hf_hub_id, file) for file in self._names(config))
            return next(filter(None, files), None)
        return in_torch_cache(config.url)

    def _names(self, config: Any) -> tuple[str, ...]:
        """Return what the file of weights can be called on the hub."""
        return (config.hf_hub_filename,) if config.hf_hub_filename else HUB_FILES

    def _asked(self, config: Any) -> Answer:
        if not config.hf_hub_id:
            return ask_server(config.url)
        return ask_hub(config.hf_hub_id, self._names(config))

    def _where(self, config: Any) -> str:
        return f"{self._names(config)[0]} of huggingface.co/{config.hf_hub_id}" if config.hf_hub_id else config.url

    def _unreachable(self, config: Any, why: str) -> UserError:
        return UserError(
            f"architecture.weights: the pretrained weights of {self.model} ({self._where(config)}) could not be "
            f"fetched ({why}); connect and run again, name a mirror of the hub in HF_ENDPOINT, or fetch the file "
            'elsewhere and write weights = "path/to/file.safetensors" (and head = "new" for other classes)'
        )

    def _try(self, network: nn.Module, shape: tuple[int, int, int]) -> None:
        """Run one image, for the sizes that timm itself does not vouch for. Raises UserError where it cannot work."""
        import torch

        patch = getattr(getattr(network, "patch_embed", None), "patch_size", (1, 1))
        if shape[1] % patch[0] or shape[2] % patch[1]:
            raise self._misfit(shape, ValueError(f"patches of {patch[0]}x{patch[1]} do not divide the image"))
        try:
            with torch.no_grad():
                network.eval()(torch.zeros(1, *shape))
        except (AssertionError, RuntimeError, ValueError) as error:
            raise self._misfit(shape, error) from None
        network.train()

    def _misfit(self, shape: tuple[int, int, int], error: Exception) -> UserError:
        size = "x".join(map(str, shape))
        return UserError(
            f"architecture {self.model}: cannot take images of {size} ({_first_line(error)}); "
            "choose another dataset.image_size or another model"
        )


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


@hookimpl
def register_architectures(register: Any) -> None:
    register(TimmModel)
