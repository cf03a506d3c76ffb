"""A hub on this machine: random weights in the layouts that timm, torchvision, diffusers and torch-fidelity publish."""

from __future__ import annotations

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

DDPM = "google/ddpm-cifar10-32"


class Hub:
    """Serves `/<owner>/<model>/resolve/main/<file>` as the Hugging Face hub does; files are made when asked for."""

    def __init__(self, folder: Path):
        self.folder, self.served = folder, list[str]()
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                self._answer(body=False)

            def do_GET(self) -> None:
                self._answer(body=True)

            def log_message(self, *arguments: Any) -> None:
                """Say nothing."""

            def _answer(self, body: bool) -> None:
                owner, _, rest = self.path.lstrip("/").partition("/")
                model, _, name = rest.partition("/resolve/main/")
                file = hub.file(f"{owner}/{model}", name) if name else None
                if file is None:
                    self.send_response(404)
                    self.send_header("X-Error-Code", "EntryNotFound")
                    self.end_headers()
                    return
                self.send_response(200)
                self.send_header("Content-Length", str(file.stat().st_size))
                self.send_header("ETag", f'"{hashlib.sha256(self.path.encode()).hexdigest()}"')
                self.send_header("X-Repo-Commit", "0" * 40)
                self.end_headers()
                if body:
                    hub.served.append(self.path)
                    with open(file, "rb") as opened:
                        while chunk := opened.read(2**20):
                            self.wfile.write(chunk)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def file(self, model: str, name: str) -> Path | None:
        """Return a file of a model, made now where it is not there; None where its kind has no such file."""
        path = self.folder / model / name
        if not path.is_file():
            state = self._state(model, name)
            if state is None:
                return None
            path.parent.mkdir(parents=True, exist_ok=True)
            save_file(state, path)
        return path

    def _state(self, model: str, name: str) -> dict[str, torch.Tensor] | None:
        if model.startswith("timm/") and name == "model.safetensors":
            import timm

            return of(timm.create_model(model.removeprefix("timm/")))
        if (model, name) == (DDPM, "diffusion_pytorch_model.safetensors"):
            from pdiff.components import Architecture

            unet = Architecture.model_validate({"name": "ddpm_cifar10"}).build(input_shape=(3, 32, 32), outputs=3)
            return of(unet)
        return None


def use(hub: Hub, home: Path, patch: pytest.MonkeyPatch) -> None:
    """Let the hub's library, when it is first imported, ask this hub; and torch.hub find its files in `home`."""
    for variable in ("http_proxy", "https_proxy", "all_proxy"):
        for name in (variable, variable.upper()):  # of processes of their own, which our sockets do not guard
            patch.setenv(name, "http://127.0.0.1:9")
    values = {
        "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1", "HF_ENDPOINT": hub.address, "HF_HOME": str(home / "hf"),
        "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "TORCH_HOME": str(home / "torch"),
    }  # fmt: skip
    for name, value in values.items():
        patch.setenv(name, value)
    patch.delenv("HF_HUB_OFFLINE", raising=False)


def fill_torch_hub(home: Path) -> None:
    """Write what torchvision and torch-fidelity publish where torch.hub keeps it; files there are not fetched."""
    from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3
    from torchvision.models import detection, segmentation

    from pdiff_plugins.generation.nets.inception import Inception

    rcnn, fcos = (
        detection.FasterRCNN_ResNet50_FPN_Weights.COCO_V1, detection.FCOS_ResNet50_FPN_Weights.COCO_V1
    )  # fmt: skip
    fcn = segmentation.FCN_ResNet50_Weights.COCO_WITH_VOC_LABELS_V1
    plain: dict[str, Any] = {"weights": None, "weights_backbone": None}
    published = {
        rcnn.url: detection.fasterrcnn_resnet50_fpn(**plain, num_classes=91),
        fcos.url: detection.fcos_resnet50_fpn(**plain, num_classes=91),
        fcn.url: segmentation.fcn_resnet50(**plain, num_classes=21, aux_loss=True),
        URL_INCEPTION_V3: Inception(),
    }
    folder = home / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True, exist_ok=True)
    for url, network in published.items():
        torch.save(of(network), folder / url.rpartition("/")[2])


def of(network: nn.Module) -> dict[str, torch.Tensor]:
    """Return a network's state, each tensor with memory of its own."""
    return {key: value.detach().clone().contiguous() for key, value in network.state_dict().items()}
