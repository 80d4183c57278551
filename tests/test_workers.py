"""Two worker processes on this machine train one model together."""

import json
import os
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

import keras_genzoo as gz

WORKER = """
import json, sys, time
import numpy as np
import tensorflow as tf
strategy = tf.distribute.MultiWorkerMirroredStrategy()
import keras, keras_genzoo as gz
index, folder = strategy.cluster_resolver.task_id, sys.argv[1]
images = np.load(folder + "/images.npy")
class Slowly(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        print(epoch, flush=True)
        time.sleep(float(sys.argv[2]))
with strategy.scope():
    model = gz.build("vae", (8, 8, 1), width=8, latent_dim=2, seed=index, ema=0.9, jit_compile=False)
keeper = gz.callbacks.Checkpoint(folder + "/state", every_steps=2)
settings = dict(batch_size=6, validation_data=images, epochs=4, verbose=0, callbacks=[Slowly(), keeper])
history = model.fit(images, **settings).history
np.savez(f"{folder}/weights-{index}.npz", *model.get_weights())
print(json.dumps({"begun": keeper.begun, "loss": history["loss"], "val_loss": history["val_loss"]}))
"""


@pytest.fixture
def folder(tmp_path):
    """With 23 images, so that last batches hold five: two shares of three and two."""
    images = np.random.default_rng(0).random((23, 8, 8, 1))
    np.save(tmp_path / "images.npy", (255 * images).astype("uint8"))
    return tmp_path


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def started(folder, pause=0.0):
    cluster = {"worker": [f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"]}
    return [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, str(folder), str(pause)],
            env={**os.environ, "TF_CONFIG": json.dumps({"cluster": cluster, "task": {"type": "worker", "index": index}})},
            stdout=subprocess.PIPE,
            text=True,
        )
        for index in (0, 1)
    ]


def ended(workers):
    """What the workers say at their end."""
    try:
        return [json.loads(worker.communicate(timeout=300)[0].splitlines()[-1]) for worker in workers]
    finally:
        for worker in workers:
            worker.kill()


def check_as_one_device(folder, said):
    """The workers' history and weights are those of one device, which begins with the chief's seed."""
    model = gz.build("vae", (8, 8, 1), width=8, latent_dim=2, seed=0, ema=0.9, jit_compile=False)
    images = np.load(folder / "images.npy")
    history = model.fit(images, batch_size=6, validation_data=images, epochs=4, verbose=0).history
    for index, each in enumerate(said):
        assert each["loss"] == pytest.approx(history["loss"], rel=1e-5)
        assert each["val_loss"] == pytest.approx(history["val_loss"], rel=1e-5)
        with np.load(folder / f"weights-{index}.npz") as arrays:
            for expected, value in zip(model.get_weights(), arrays.values(), strict=True):
                np.testing.assert_allclose(value, expected, atol=1e-5)


@pytest.mark.slow
def test_two_workers_train_as_one_device_on_all_of_the_images(folder):
    check_as_one_device(folder, ended(started(folder)))


@pytest.mark.slow
def test_a_signal_to_one_worker_keeps_the_state_and_ends_all_which_then_go_on(folder):
    workers = started(folder, pause=2.0)
    try:
        while workers[1].stdout.readline().strip() != "2":
            assert workers[1].poll() is None
        workers[1].send_signal(signal.SIGTERM)
        assert [worker.wait(timeout=120) for worker in workers] == [143, 143]
    finally:
        for worker in workers:
            worker.kill()
    said = ended(started(folder))
    assert said[0]["begun"] == said[1]["begun"] and said[0]["begun"][0] == 2
    check_as_one_device(folder, said)


@pytest.mark.slow
def test_the_command_goes_on_after_a_worker_was_killed(folder):
    command = ["train", "vae", "--data", folder / "images.npy", "--epochs", 30, "--batch-size", 6, "--no-jit"]
    command = [str(part) for part in (*command, "--set", "width=8", "--set", "latent_dim=2")]

    def start(several, out):
        cluster = {"worker": [f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"]}
        workers = []
        for index in (0, 1) if several else (0,):
            own = {"TF_CONFIG": json.dumps({"cluster": cluster, "task": {"type": "worker", "index": index}})} if several else {}
            arguments = [*command, "--out", str(folder / out), *(["--strategy", "multiworker"] if several else [])]
            with open(folder / f"{out}-{index}.log", "a") as log:
                program = [sys.executable, "-m", "keras_genzoo.cli", *arguments]
                workers.append(subprocess.Popen(program, env={**os.environ, **own}, stdout=log, stderr=log))
        return workers

    workers = start(True, "killed")
    try:
        deadline = time.monotonic() + 300
        while not list((folder / "killed").glob("state/checkpoint-*/state.json")):
            assert workers[0].poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        workers[1].kill()
        workers[0].wait(timeout=300)  # it cannot go on alone
        assert workers[0].returncode not in (0, None)
    finally:
        for worker in workers:
            worker.kill()
    for several, out in ((True, "killed"), (False, "alone")):
        assert [worker.wait(timeout=300) for worker in start(several, out)] == [0] * (2 if several else 1)
    assert "going on from" in (folder / "killed-0.log").read_text()
    models = [gz.load(folder / out / "model.keras") for out in ("killed", "alone")]
    for one, other in zip(*(model.encoder.get_weights() for model in models), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    assert not list(folder.glob("killed/*1*"))  # the chief alone writes
