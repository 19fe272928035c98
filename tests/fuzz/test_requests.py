"""Mutated requests to a served model, and mutated answers to the client: refused, or computed."""

import base64
import json
from functools import cache, partial
from unittest import mock

import imagecodecs
import numpy as np
import requests
import tensorflow as tf
from fuzz.mutations import change_png_chunk, mutated, mutated_json
from helpers.images import encoded, noise_image
from helpers.serving.models import Refused, StandIn
from hypothesis import strategies as st

from udl_tf.errors import UserError
from udl_tf.saved.client import Client

NAME, SCALE = "small_x2", 2
ADDRESS = "http://host/model"
IMAGE = noise_image(6, 8)
DTYPES = ("uint8", "uint16", "int32", "float32", "float64")


@cache
def stand_in(folder):
    return StandIn({NAME: folder})


def request(served, folder, case):
    """Sends an input, bytes of a file or an array, to both signatures for it."""
    content = case if isinstance(case, bytes) else np.full(case[0], 7, case[1])
    name, signature = ("image_bytes",) * 2 if isinstance(case, bytes) else ("image", "sr_only")
    value = tf.constant([content]) if isinstance(case, bytes) else tf.constant(content)
    try:
        outputs = stand_in(served).predict(NAME, None, signature, {name: value})
    except Refused as refused:
        if refused.code != "INVALID_ARGUMENT":
            raise
        raise UserError(f"{folder}: refused") from None
    if isinstance(case, bytes):
        names = ("sr_image_bytes", "theta_image_bytes")
        sr, theta = (imagecodecs.png_decode(outputs[name][0]) for name in names)
        assert sr.shape == theta.shape
        assert (sr.dtype, theta.dtype) == (np.uint8, np.uint16)
    else:
        n, height, width, _ = case[0]
        assert outputs["sr"].shape == (n, SCALE * height, SCALE * width, 3)


def test_requests(fuzz, served):
    files = [encoded(IMAGE, kind) for kind in ("PNG", "JPEG", "WEBP")]
    files += [encoded(IMAGE[..., 0], "PNG"), imagecodecs.png_encode(IMAGE.astype(np.uint16))]
    arrays = st.tuples(
        st.lists(st.integers(0, 9) | st.just(3), max_size=5).map(tuple)
        | st.tuples(st.integers(0, 2), st.integers(0, 9), st.integers(0, 9), st.just(3)),
        st.sampled_from(DTYPES),
    )
    contents = st.sampled_from(files).flatmap(lambda file: mutated(file, [change_png_chunk] * 3))
    fuzz(partial(request, served), [*files, ((1, 6, 8, 3), "uint8")], contents | arrays)


def read_answers(folder, case):
    """Upscales with a client whose server answers with this body for the card and for images."""
    answers = iter(case)

    def post(*arguments, **options):
        answer = requests.Response()
        answer.status_code, answer._content = 200, next(answers)
        return answer

    with mock.patch.object(requests.Session, "post", post):
        client = Client(ADDRESS, retries=0)
        result = client.upscale(IMAGE)
    assert result.image.shape == (SCALE * 6, SCALE * 8, 3)
    assert (result.theta is not None) == client.has_uncertainty


def test_answers(fuzz, served):
    card = (served / "1/assets/model_card.json").read_text()
    large = IMAGE.repeat(SCALE, axis=0).repeat(SCALE, axis=1)
    pngs = {"sr_image_bytes": large, "theta_image_bytes": large.astype(np.uint16)}
    row = {
        name: {"b64": base64.b64encode(imagecodecs.png_encode(image)).decode()}
        for name, image in pngs.items()
    }
    bodies = [json.dumps({"predictions": [value]}).encode() for value in (card, row)]
    cases = st.one_of(
        st.tuples(mutated_cards(json.loads(card)), st.just(bodies[1])),
        st.tuples(mutated(bodies[0]) | mutated_json(bodies[0]), st.just(bodies[1])),
        st.tuples(st.just(bodies[0]), mutated(bodies[1]) | mutated_json(bodies[1])),
        st.tuples(st.just(bodies[0]), mutated_images(row)),
    )
    # A refusal may name the model instead of the address, and that name is mutated too.
    fuzz(read_answers, [tuple(bodies)], cases, named="")


@st.composite
def mutated_cards(draw, card):
    """Yields an answer with a mutated model card."""
    text = draw(mutated_json(json.dumps(card).encode())).decode()
    return json.dumps({"predictions": [text]}).encode()


@st.composite
def mutated_images(draw, row):
    """Yields an answer, one of whose images is mutated."""
    name = draw(st.sampled_from(sorted(row)))
    png = draw(mutated(base64.b64decode(row[name]["b64"]), [change_png_chunk] * 3))
    changed = {**row, name: {"b64": base64.b64encode(png).decode()}}
    return json.dumps({"predictions": [changed]}).encode()
