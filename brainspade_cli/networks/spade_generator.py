"""SPADE decoder (paper 2.3): partial-volume maps and a style code to an image, with label detail at full resolution."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from brainspade_cli.anatomy import CHANNELS
from brainspade_cli.networks.configs import GeneratorConfig


class LabelBranch(nn.Module):
    """Hidden activation (B, hidden, h, w) of one level: the maps, seen through the style.

    The convolved maps are scaled and shifted per channel by the style code. A style that entered at the coarsest level
    alone would be normalised away; here it decides at every level how each tissue is painted.
    """

    def __init__(self, hidden: int, style_dim: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(CHANNELS, hidden, 3, padding=1)
        self.film = nn.Linear(style_dim, 2 * hidden)

    def forward(self, maps: Tensor, style: Tensor) -> Tensor:
        """Hidden activation for maps (B, 8, h, w) at this level's resolution and style codes (B, style_dim)."""
        scale, shift = self.film(style)[:, :, None, None].chunk(2, dim=1)
        return torch.addcmul(shift, F.relu(self.conv(maps)), 1 + scale)


class ImageNorm(nn.Module):
    """Instance normalisation, without parameters, that leaves the layout of a single bfloat16 image as it is.

    torch's own copies images that lie channels last, there and back, and what follows then mixes layouts: a quarter of
    the painter's time on a CPU. One image's statistics are those of a batch of one, which batch normalisation takes. It
    sums up channels-last float32 less exactly, by what bfloat16 does not show.
    """

    def forward(self, features: Tensor) -> Tensor:
        """Normalised features, of the shape of `features` (B, width, h, w)."""
        if len(features) == 1 and features.dtype == torch.bfloat16:
            return F.batch_norm(features, None, None, training=True)
        return F.instance_norm(features)


class SpadeNorm(nn.Module):
    """Parameter-free normalisation, then x (1 + gamma) + beta; gamma and beta are convolved from the label branch."""

    def __init__(self, width: int, hidden: int, norm: str) -> None:
        super().__init__()
        if norm not in ("instance", "batch"):
            raise ValueError(f"norm must be 'instance' or 'batch', not '{norm}'")
        self.norm = ImageNorm() if norm == "instance" else nn.BatchNorm2d(width, affine=False)
        self.gamma = nn.Conv2d(hidden, width, 3, padding=1)
        self.beta = nn.Conv2d(hidden, width, 3, padding=1)
        self.settled = False

    def settle(self) -> None:
        """Make the one in 1 + gamma part of gamma's bias, for use alone: in training it would weigh on the bias."""
        assert not self.settled
        assert self.gamma.bias is not None
        self.gamma.bias.data += 1
        self.settled = True

    def forward(self, features: Tensor, hidden: Tensor) -> Tensor:
        """Modulated features, of the shape of `features` (B, width, h, w); `hidden` is (B, hidden, h, w)."""
        gamma = self.gamma(hidden)
        return torch.addcmul(self.beta(hidden), self.norm(features), gamma if self.settled else 1 + gamma)


class OneChannelConv(nn.Module):
    """Does what a 3 x 3 convolution to one channel does, in a third of its time on a CPU.

    Each pixel gives what it adds to itself and its eight neighbours, and `fold` sums that up. For one channel torch
    computes as many as its kernels are wide.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        assert conv.bias is not None
        self.weight, self.bias = conv.weight, conv.bias

    def forward(self, features: Tensor) -> Tensor:
        """Image (B, 1, h, w) of features (B, width, h, w)."""
        added = self.weight[0].flip(1, 2).flatten(1).t() @ features.flatten(2)
        return F.fold(added, features.shape[2:], 3, padding=1) + self.bias


class SpadeBlock(nn.Module):
    """SPADE residual block: two modulated 3 x 3 convolutions and, where widths differ, a learned 1 x 1 shortcut.

    One label branch serves both norms, and the shortcut takes the first norm's output: a third of the cost at full
    resolution goes into these branches otherwise.
    """

    def __init__(self, wide: int, narrow: int, hidden: int, style_dim: int, norm: str) -> None:
        super().__init__()
        self.labels = LabelBranch(hidden, style_dim)
        self.norm_in = SpadeNorm(wide, hidden, norm)
        self.norm_out = SpadeNorm(narrow, hidden, norm)
        self.conv_in = spectral_norm(nn.Conv2d(wide, narrow, 3, padding=1))
        self.conv_out = spectral_norm(nn.Conv2d(narrow, narrow, 3, padding=1))
        self.shortcut = None if wide == narrow else spectral_norm(nn.Conv2d(wide, narrow, 1, bias=False))

    def forward(self, features: Tensor, maps: Tensor, style: Tensor) -> Tensor:
        """Features (B, narrow, h, w) from features (B, wide, h, w) and maps (B, 8, h, w)."""
        hidden = self.labels(maps, style)
        modulated = self.norm_in(features, hidden)
        passed = features if self.shortcut is None else self.shortcut(modulated)
        inner = self.conv_in(F.leaky_relu(modulated, 0.2))
        return passed + self.conv_out(F.leaky_relu(self.norm_out(inner, hidden), 0.2))


class SpadeGenerator(nn.Module):
    """Paints PV maps in a style. One SPADE block a width, linear x2 between them; the last is at full resolution.

    Where a tissue is wide, nothing at the finer levels hides the edges of coarse pixels: nearest-neighbour up-sampling,
    the released code's, leaves squares and stripes there.

    The maps are brought to each level by area averaging, for they are fractions of tissue: averages of fractions are
    again fractions that sum to 1, which nearest-neighbour picks would not be.
    """

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        if len(config.widths) != len(config.hidden):
            raise ValueError(f"widths and hidden differ in length: {len(config.widths)} and {len(config.hidden)}")
        self.halvings = len(config.widths) - 1
        # The paper's linear layer from the code to a whole coarse image would tie the network to one image size, and
        # let a style paint anatomy at fixed places. The coarse maps modulated by the code do neither.
        self.base = LabelBranch(config.widths[0], config.style_dim)
        incoming = (config.widths[0], *config.widths)
        self.blocks = nn.ModuleList(
            SpadeBlock(wide, narrow, hidden, config.style_dim, config.norm)
            for wide, narrow, hidden in zip(incoming, config.widths, config.hidden, strict=False)
        )
        self.out: nn.Conv2d | OneChannelConv = nn.Conv2d(config.widths[-1], 1, 3, padding=1)

    def forward(self, maps: Tensor, style: Tensor) -> Tensor:
        """Image (B, 1, H, W) on the z-scored scale, for PV maps (B, 8, H, W) in 0..1 and style codes (B, style_dim).

        The last layer may be of a higher precision than the rest, to whose precision maps and style are brought.
        Raises ValueError where H or W cannot be halved once per up-sampling.
        """
        step = 2**self.halvings
        if maps.shape[-2] % step or maps.shape[-1] % step:
            raise ValueError(f"height and width must be multiples of {step}, not {tuple(maps.shape[-2:])}")
        precision = self.base.conv.weight.dtype
        pyramid, style = [maps.to(precision)], style.to(precision)
        for _ in range(self.halvings):
            pyramid.append(F.avg_pool2d(pyramid[-1], 2))
        features = self.base(pyramid[-1], style)
        for level, block in zip(reversed(range(self.halvings + 1)), self.blocks, strict=True):
            features = block(features, pyramid[level], style)
            if level > 0:
                features = F.interpolate(features, scale_factor=2.0, mode="bilinear")
        image: Tensor = self.out(F.leaky_relu(features, 0.2).to(self.out.weight.dtype))
        return image
