"""What stays in memory: of models that were dropped, and of samples on their way to a file. Each in a process of its own."""

import json
import subprocess
import sys

import pytest

COUNT, WARM = 40, 10  # models, and of these the first, after which growth counts

START = """
import gc, json, sys
import keras, numpy as np, psutil
import keras_genzoo as gz
resident = lambda: (gc.collect(), psutil.Process().memory_info().rss / 2**20)[1]
"""
DROPPED = """
def bare():
    image = keras.Input((28, 28, 1))
    x = keras.layers.Flatten()(image)
    for index in range(4):
        x = keras.layers.LayerNormalization()(keras.layers.Dense(512, "relu")(x))
    image_again = keras.layers.Reshape((28, 28, 1))(keras.layers.Dense(784, "sigmoid")(x))
    model = keras.Model(image, image_again)
    model.compile("adam", "mse", jit_compile=False)
    model.fit(images, images, batch_size=32, verbose=0)

def ours():
    # What XLA compiles stays for ever, of every model of TensorFlow, so neither side has it.
    model = gz.build("vae", (28, 28, 1), seed=0, jit_compile=False, steps_per_execution=1)
    model.fit(images, batch_size=32, verbose=0)

images = np.zeros((32, 28, 28, 1), np.float32)
for number in range(COUNT):
    {"bare": bare, "ours": ours}[sys.argv[1]]()
    if number == WARM:
        before = resident()
print(json.dumps((resident() - before) / (COUNT - 1 - WARM)))
"""
DRAWN = """
import threading, time
from click.testing import CliRunner
from keras_genzoo.cli import main

model = gz.build("gan", (28, 28, 1), width=8, seed=0)
model.save(sys.argv[2] + "/model.keras")
model.sample(512, seed=0)
command = ["sample", sys.argv[2] + "/model.keras", "-n", "512", "--out"]
assert CliRunner().invoke(main, [*command, sys.argv[2] + "/warm"]).exit_code == 0
before, peak, done = resident(), [0], threading.Event()

def watch():
    while not done.wait(0.01):
        peak[0] = max(peak[0], psutil.Process().memory_info().rss / 2**20)

watcher = threading.Thread(target=watch)
watcher.start()
if sys.argv[1] == "array":
    model.sample(50_000, seed=0)
else:
    command[3] = "20000"
    assert CliRunner().invoke(main, [*command, sys.argv[2] + "/many"]).exit_code == 0
done.set()
watcher.join()
print(json.dumps(peak[0] - before))
"""


def measured(code, *arguments):
    code = START + code.replace("COUNT", str(COUNT)).replace("WARM", str(WARM))
    found = subprocess.run([sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    return json.loads(found.stdout.splitlines()[-1])


@pytest.mark.slow
def test_models_that_are_dropped_leave_no_more_than_bare_keras_models():
    ours, bare = measured(DROPPED, "ours"), measured(DROPPED, "bare")
    print(f"MiB a model: {ours:.1f} of ours, {bare:.1f} of Keras alone")
    assert ours <= bare


@pytest.mark.slow
def test_many_samples_take_a_batch_beside_the_result(tmp_path):
    result = 50_000 * 28 * 28 * 4 / 2**20
    grown = measured(DRAWN, "array", tmp_path)
    print(f"MiB beside the result of {result:.0f}: {grown - result:.0f}")
    assert grown < result + 60


@pytest.mark.slow
def test_many_samples_in_a_folder_take_a_batch(tmp_path):
    grown = measured(DRAWN, "folder", tmp_path)
    print(f"MiB for 20,000 pictures: {grown:.0f}")
    assert grown < 60  # as floats 60 MiB, of which none are held
