"""Checks a model on TensorFlow Serving: prints its model card and times a request.

udl-tf check-server grpc://localhost:8500/light_x4
"""

import time

import numpy as np

from udl_tf._support import command_line
from udl_tf._support.backend import check_backend
from udl_tf._support.stderr import quiet

_SIDE = 64  # of the image that is sent, pixels


def main(arguments: list[str] | None = None) -> None:
    parser = command_line.make_parser("udl-tf check-server", __doc__)
    parser.add_argument("url", help="grpc://HOST:8500/NAME or http://HOST:8501/NAME")
    parser.add_argument(
        "--timeout", type=float, default=20.0, help="seconds per request (default: %(default)s)"
    )
    options = parser.parse_args(arguments)
    command_line.check_positive(options, "timeout")
    check_backend("tensorflow", "jax")
    with quiet():
        from udl_tf.saved import Client

    client = Client(options.url, timeout=options.timeout, retries=0)
    card = client.card
    theta = "none"
    if client.has_uncertainty:
        theta = f"calibrated on {card.calibration.data}" if card.calibration else "not calibrated"
    print(f"model      {card.name}, {card.architecture.name} x{card.scale}")
    print(f"theta      {theta}")
    print(
        f"accepts    images of at most {card.max_pixels:,} pixels per request, {card.image_dtype}"
    )
    image = np.full((_SIDE, _SIDE, client.channels), 128, np.uint8)
    start = time.perf_counter()
    result = client.upscale(image)
    seconds = time.perf_counter() - start
    print(f"answers    {_SIDE}x{_SIDE} in {seconds:.2f} s: {result}")


if __name__ == "__main__":
    command_line.run(main)
