"""A Keras model that trains over several workers."""

import keras


class GroupModel(keras.Model):
    """A model, built beforehand, whose `fit` also works over several workers in Keras 3.15.

    Keras fails there in two places, which this class works around: it averages a batch over workers
    in order to build the model, and it averages logs along axis 0, which scalars do not have. A
    test fails once this workaround is no longer needed.
    """

    def _maybe_symbolic_build(self, *args, **kwargs):
        if not self._over_workers:
            super()._maybe_symbolic_build(*args, **kwargs)
        elif not self.optimizer.built:
            with self.distribute_strategy.scope():
                self.optimizer.build(self.trainable_variables)

    def train_step(self, *args):
        logs = super().train_step(*args)
        if self._over_workers:
            return {name: keras.ops.reshape(value, (1,)) for name, value in logs.items()}
        return logs

    def mean_over_replicas(self, value):
        """Returns the mean of a scalar over the replicas that share a batch equally."""
        if getattr(self, "distribute_strategy", None) is None:  # JAX computes global arrays
            return value
        from udl_tf.distributed.strategy import mean_over_replicas

        return mean_over_replicas(value)

    @property
    def _over_workers(self) -> bool:
        strategy = getattr(self, "distribute_strategy", None)  # only TensorFlow's models have one
        return strategy is not None and strategy.cluster_resolver is not None
