"""A client of models on TensorFlow Serving."""

from collections.abc import Sequence

import numpy as np

from udl_tf.errors import UserError
from udl_tf.saved.card import parse_card
from udl_tf.saved.exported import ExportedUpscaler
from udl_tf.saved.transport import Address, GrpcTransport, RestTransport, expected_answers

_LONGEST = 86_400  # s, a day; sockets refuse much longer timeouts


class Client(ExportedUpscaler):
    """An Upscaler that sends its images to a served model.

    Images that exceed the limit of a request are sent in tiles, with the same result. By REST,
    theta is rounded to multiples of 1/256 grey level.

    Args:
        url: grpc://HOST:8500/NAME or http://HOST:8501/NAME; add /VERSION for another version than
            the latest.
        timeout: seconds per request, at most a day.
        retries: how often a request is repeated, after increasing pauses, while the server is
            unreachable or overloaded.
        max_pixels: LR pixels per request. More is sent for networks with so large a receptive
            field that tiles would consist of little but overlap, never more than the server
            accepts.

    Raises:
        UserError: if the timeout is out of range, the server is unreachable or does not have the
            model or version, or the model was not exported by udl_tf; from `upscale` also if the
            server refuses the request or exceeds the timeout.

    Examples:
        >>> client = Client("grpc://localhost:8500/light_x4")
        >>> result = client.upscale(image)
        >>> result.image, result.theta
    """

    def __init__(
        self, url: str, timeout: float = 120.0, retries: int = 4, max_pixels: int = 512**2
    ):
        if not 0 < timeout <= _LONGEST:
            raise UserError(
                f"timeout {timeout:g} s; expected more than 0 and at most {_LONGEST} s",
                argument="timeout",
            )
        address = Address.parse(url)
        kind = GrpcTransport if address.scheme == "grpc" else RestTransport
        transport = kind(address, timeout, retries)
        with expected_answers(url):
            card = parse_card(transport.card(), url)
            if card.max_pixels is None or card.tile is not None:
                raise ValueError("the model card of a model that cannot be served")
        if kind is RestTransport and not card.takes_files:
            raise UserError(
                f"{url}: by REST, images are sent as files, which this model of {card.channels}"
                f" channels and the value range {card.range} does not take: use gRPC, as in"
                f" grpc://HOST:8500/{address.model}"
            )
        # A tile four radii wide has a core two radii wide: a quarter of its pixels are used.
        limit = min(max(max_pixels, (4 * card.radius) ** 2), card.max_pixels)

        def forward(lr: np.ndarray, outputs: Sequence[str]) -> dict[str, np.ndarray]:
            with expected_answers(url):
                maps = transport.upscale(lr, "theta" in outputs, card.image_dtype)
                n, height, width, channels = lr.shape
                shape = (n, card.scale * height, card.scale * width, channels)
                for name in outputs:
                    if maps[name].shape != shape:
                        raise ValueError(f"{name} of the shape {maps[name].shape}")
                return {name: maps[name].astype(np.float32) for name in outputs}

        super().__init__(card.model_copy(update={"max_pixels": limit}), forward)
