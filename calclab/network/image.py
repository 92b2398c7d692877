"""What the networks for images ask of their data."""

from __future__ import annotations

from calclab.errors import UserError


def image_shape(network: str, shape: tuple[int, ...], halvings: int, knob: str) -> tuple[int, int, int]:
    """Channels, height and width of a row; UserError unless it is an image that can be halved so often."""
    if len(shape) != 3:
        raise UserError(
            f"network={network} takes images (channels, height, width), and a row of this data has the shape "
            f"{shape}. Type data=digits for images, or network=mlp for this data"
        )
    channels, height, width = shape
    if min(height, width) < 2**halvings:
        raise UserError(
            f"{knob} halves the image {halvings} times, and {height} by {width} is too small for that. "
            f"Type a smaller {knob.partition('=')[0]}"
        )
    return channels, height, width
