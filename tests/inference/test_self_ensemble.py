import numpy as np

from udl_tf.inference.self_ensemble import MEMBERS, mean_and_spread


def test_mean_and_spread_are_those_of_the_eight_members():
    """Of a function that knows rows from columns, so that the members differ."""
    image = np.random.default_rng(0).uniform(0, 255, (130, 5, 3)).astype(np.float32)
    shapes, members = [], []

    def run(x):
        shapes.append(x.shape)
        columns = np.arange(x.shape[1], dtype=np.float32)[None, :, None]
        return {"sum": x + columns, "product": x * columns}

    for member in range(MEMBERS):
        turned = np.rot90(image, member % 4)
        result = run(turned[:, ::-1] if member >= 4 else turned)["sum"]
        members.append(np.rot90(result[:, ::-1] if member >= 4 else result, -(member % 4)))
    shapes.clear()
    means, spreads = mean_and_spread(image, run, spread_of=("sum",))
    assert shapes == [(130, 5, 3), (5, 130, 3)] * 4
    assert np.allclose(means["sum"], np.mean(members, axis=0), rtol=1e-5)
    assert np.allclose(spreads["sum"], np.std(members, axis=0), rtol=1e-4)
    assert spreads["sum"].min() > 1
    assert (set(means), set(spreads)) == ({"sum", "product"}, {"sum"})
    assert mean_and_spread(image, run)[1] == {}
