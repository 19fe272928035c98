"""Upscales through a model that TensorFlow Serving serves."""

from collections.abc import Sequence

import numpy as np

from udl_tf.saved.card import parse_card
from udl_tf.saved.exported import ExportedUpscaler
from udl_tf.saved.transport import Address, GrpcTransport, RestTransport


class Client(ExportedUpscaler):
    """A served model; `upscale` takes and gives what a local model's does.

    Larger pictures than one request may hold are sent in tiles, with the result of the whole. By
    REST theta comes in steps of 1/256 grey level.

    Args:
        url: grpc://HOST:8500/NAME or http://HOST:8501/NAME; /VERSION after it for one that is not
            the latest.
        timeout: seconds for one request.
        retries: how often a request is sent again, each time after a longer pause, when the server
            is not there or has no time.
        max_pixels: of the pictures in a request, LR pixels; more for networks that reach so far
            that tiles would hardly hold more than their overlap. The server's own limit holds too.

    Raises:
        UserError: if the server is down, the model or version is not there or none of ours; from
            `upscale` also when the server refuses or is too slow.

    Example:
        >>> client = Client("grpc://localhost:8500/edsr_s_x4")
        >>> made = client.upscale(image)
        >>> made.image, made.theta
    """

    def __init__(
        self, url: str, timeout: float = 120.0, retries: int = 4, max_pixels: int = 512**2
    ):
        address = Address.parse(url)
        kind = GrpcTransport if address.scheme == "grpc" else RestTransport
        transport = kind(address, timeout, retries)
        card = parse_card(transport.card(), url)
        assert card.max_pixels is not None  # of a served model
        # Tiles four radii wide are kept to a quarter.
        limit = min(max(max_pixels, (4 * card.radius) ** 2), card.max_pixels)

        def forward(lr: np.ndarray, outputs: Sequence[str]) -> dict[str, np.ndarray]:
            made = transport.upscale(lr, "theta" in outputs, card.image_dtype)
            return {name: made[name].astype(np.float32) for name in outputs}

        super().__init__(card.model_copy(update={"max_pixels": limit}), forward)
