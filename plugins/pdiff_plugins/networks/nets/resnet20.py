"""CIFAR ResNet-20 (He et al. 2016, arXiv 1512.03385, section 4.2). Shapes: B batch, C channels, H height, W width."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


class ResNet20(nn.Module):
    """Three stages of three two-conv blocks at 16, 32 and 64 channels, mean pooling, one linear layer."""

    def __init__(self, channels: int, outputs: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = nn.Sequential(Block(16, 16), Block(16, 16), Block(16, 16))
        self.layer2 = nn.Sequential(Block(16, 32), Block(32, 32), Block(32, 32))
        self.layer3 = nn.Sequential(Block(32, 64), Block(64, 64), Block(64, 64))
        self.linear = nn.Linear(64, outputs)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        x_BCHW = F.relu(self.bn1(self.conv1(x_BCHW)))
        x_BCHW = self.layer3(self.layer2(self.layer1(x_BCHW)))
        return self.linear(x_BCHW.mean(dim=(2, 3)))


class Block(nn.Module):
    """Two 3x3 convs; where the channels grow, the shortcut subsamples and pads with zero channels (option A)."""

    def __init__(self, before: int, channels: int):
        super().__init__()
        self.stride, self.pad = (1, 0) if before == channels else (2, (channels - before) // 2)
        self.conv1 = nn.Conv2d(before, channels, 3, stride=self.stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        y_BCHW = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x_BCHW)))))
        # Half of the zero channels before the old ones and half after: the published weights expect it.
        shortcut = F.pad(x_BCHW[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.pad, self.pad))
        return F.relu(y_BCHW + shortcut)
