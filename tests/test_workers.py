"""Two worker processes on this machine train one model together."""

import json
import os
import socket
import subprocess
import sys

import pytest

WORKER = """
import json, sys
import numpy as np
import tensorflow as tf
strategy = tf.distribute.MultiWorkerMirroredStrategy()
import keras_genzoo as gz
images = (np.random.default_rng(0).random((32, 8, 8, 1)) * 255).astype("uint8")
with strategy.scope():
    import keras
    keras.utils.set_random_seed(0)
    model = gz.build("vae", (8, 8, 1), width=8, latent_dim=2, seed=0, jit_compile=False)
data = tf.data.Dataset.from_tensor_slices(images).batch(8)
history = model.fit(data, validation_data=data, epochs=2, verbose=0).history
weights = float(sum(np.abs(np.asarray(v)).sum() for v in model.trainable_variables))
print(json.dumps({"loss": history["loss"], "val_loss": history["val_loss"], "weights": weights}))
"""


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.mark.slow
def test_two_workers_end_with_the_same_losses_and_weights():
    cluster = {"worker": [f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"]}
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER],
            env={**os.environ, "TF_CONFIG": json.dumps({"cluster": cluster, "task": {"type": "worker", "index": index}})},
            stdout=subprocess.PIPE,
            text=True,
        )
        for index in (0, 1)
    ]
    try:
        first, second = (json.loads(worker.communicate(timeout=300)[0].splitlines()[-1]) for worker in workers)
    finally:
        for worker in workers:
            worker.kill()
    assert first["loss"] == pytest.approx(second["loss"]) and first["val_loss"] == pytest.approx(second["val_loss"])
    assert first["weights"] == pytest.approx(second["weights"], rel=1e-6)
    assert len(first["loss"]) == 2
