"""Networks that make images from noise, for distillation without data, and a way to look at their images."""

from __future__ import annotations

import os
from collections.abc import Callable

import torch
from torch import Tensor, nn

from ...atomic import atomic_output

__all__ = ["ImageGenerator", "ImageMixer", "save_image_grid"]


class ImageGenerator(nn.Module):
    """A generator of images: a linear layer to a small image, then up to the full size by steps of two.

    Parameters
    ----------
    shape : tuple of int
        Channels, height and width of the images.
    latent_size : int
        Length of the noise vectors.
    width : int
        Channels of the inner images. The time of a step grows with its square.
    n_doublings : int
        How often height and width double; each costs a convolution.
    limits : pair of float, optional
        The least and the largest value of a pixel, as the teacher's inputs are normalized: images are cut off
        there. Real ones often have wide areas at a limit, such as a black background.

    Notes
    -----
    A final BatchNorm without weights gives every channel mean 0 and deviation 1 over a batch, which is what
    networks are usually trained on. Where the teacher's inputs have another scale, put it behind this:
    ``nn.Sequential(generator, scale)``.

    Examples
    --------
    >>> generator = ImageGenerator((3, 32, 32), latent_size=64, width=16)
    >>> generator(torch.randn(8, generator.latent_size)).shape
    torch.Size([8, 3, 32, 32])
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        latent_size: int = 100,
        width: int = 64,
        *,
        n_doublings: int = 2,
        limits: tuple[float, float] | None = None,
    ) -> None:
        super().__init__()
        if len(shape) != 3 or min(shape) < 1:
            raise ValueError(f"shape must be (channels, height, width), not {shape}")
        if min(latent_size, width) < 1 or n_doublings < 0:
            raise ValueError("latent_size and width must be positive, n_doublings not negative")
        self.shape = tuple(shape)
        self.latent_size = latent_size
        channels, height, width_px = shape
        scale = 2**n_doublings
        rows, columns = -(-height // scale), -(-width_px // scale)
        layers: list[nn.Module] = [
            nn.Linear(latent_size, width * rows * columns),
            nn.Unflatten(1, (width, rows, columns)),
            nn.BatchNorm2d(width),
        ]
        n_in = width
        for i in range(n_doublings):
            # The largest images are the dear ones: half the channels there.
            n_out = max(width // 2, 1) if i == n_doublings - 1 else width
            layers += [nn.Upsample(scale_factor=2), nn.Conv2d(n_in, n_out, 3, padding=1)]
            layers += [nn.BatchNorm2d(n_out), nn.LeakyReLU(0.2)]
            n_in = n_out
        layers += [nn.Conv2d(n_in, channels, 3, padding=1), nn.Tanh(), nn.BatchNorm2d(channels, affine=False)]
        if limits is not None:
            layers.append(nn.Hardtanh(*limits))
        self.layers = nn.Sequential(*layers)

    def forward(self, noise: Tensor) -> Tensor:
        """Make an image of each row of noise."""
        _, height, width = self.shape
        images: Tensor = self.layers(noise)
        return images[:, :, :height, :width]


class ImageMixer:
    """Makes images of other kinds from generated ones; an `augment` for `DataFreeDistiller`.

    Half of the images are blended with another, then half get a rectangle of another pasted in, and each gets
    its own contrast and brightness. What comes out need not look real: the teacher says what it is.

    Parameters
    ----------
    limits : pair of float, optional
        As `ImageGenerator` has them.
    contrast, brightness : float
        Images are multiplied by something in [exp(-contrast), exp(contrast)], evenly in its logarithm, and
        something in [-brightness, brightness] is added.

    References
    ----------
    Zhang, Cisse, Dauphin, Lopez-Paz: mixup, 2018. Yun et al.: CutMix, 2019.

    Examples
    --------
    >>> ImageMixer(limits=(-1, 1))(torch.randn(16, 3, 32, 32)).shape
    torch.Size([16, 3, 32, 32])
    """

    def __init__(
        self, limits: tuple[float, float] | None = None, *, contrast: float = 0.5, brightness: float = 0.3
    ) -> None:
        if min(contrast, brightness) < 0:
            raise ValueError("contrast and brightness must not be negative")
        self.limits = limits
        self.contrast = contrast
        self.brightness = brightness

    def __call__(self, images: Tensor) -> Tensor:
        """Mix a batch of images."""
        n, device = len(images), images.device

        def draw(low: float, high: float) -> Tensor:
            """A number for each image."""
            return torch.empty(n, 1, 1, 1, device=device).uniform_(low, high)

        def others(images: Tensor) -> Tensor:
            return images[torch.randperm(n).to(device)]

        share = torch.where(draw(0, 1) < 0.5, draw(0, 1), 1)
        images = share * images + (1 - share) * others(images)
        height, width = images.shape[2:]
        pasted = self._rectangles(height, width, draw) & (draw(0, 1) < 0.5)
        images = torch.where(pasted, others(images), images)
        images = images * draw(-self.contrast, self.contrast).exp() + draw(-self.brightness, self.brightness)
        return images if self.limits is None else images.clamp(*self.limits)

    @staticmethod
    def _rectangles(height: int, width: int, draw: Callable[[float, float], Tensor]) -> Tensor:
        """Masks of rectangles anywhere, of an eighth to seven eighths of either side."""
        inside = []
        for dim, size in ((2, height), (3, width)):
            start, length = draw(-0.5, 1) * size, draw(0.125, 0.875) * size
            place = torch.arange(size, device=start.device).reshape([-1 if d == dim else 1 for d in range(4)])
            inside.append((place >= start) & (place < start + length))
        return inside[0] & inside[1]


def save_image_grid(images: Tensor, path: str | os.PathLike[str], *, columns: int = 8) -> None:
    """Save images as one PNG, each stretched from its darkest to its brightest value.

    Parameters
    ----------
    images : tensor of shape [n, channels, height, width]
        Images with three channels are saved in colour; of others the first channel is.
    path : str or path
    columns : int
        Images in a row, two pixels apart.

    Raises
    ------
    ImportError
        Without Pillow: pip install 'tersor[images]'.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError("saving images needs Pillow: pip install 'tersor[images]'") from error
    if images.dim() != 4 or not images.numel() or columns < 1:
        raise ValueError(f"images must be [n, channels, height, width], not {tuple(images.shape)}")
    images = images.detach().float().cpu()
    images = images if images.shape[1] == 3 else images[:, :1].expand(-1, 3, -1, -1)
    low, high = images.amin((1, 2, 3), keepdim=True), images.amax((1, 2, 3), keepdim=True)
    pixels = ((images - low) / (high - low).clamp_min(1e-12) * 255).round().to(torch.uint8)
    n, _, height, width = pixels.shape
    rows = -(-n // columns)
    grid = torch.full((rows * (height + 2) - 2, columns * (width + 2) - 2, 3), 255, dtype=torch.uint8)
    for i, image in enumerate(pixels):
        top, left = i // columns * (height + 2), i % columns * (width + 2)
        grid[top : top + height, left : left + width] = image.permute(1, 2, 0)
    with atomic_output(path) as file:
        Image.fromarray(grid.numpy()).save(file, "PNG")
