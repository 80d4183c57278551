"""Train on more images than memory may hold, and tell how much memory that took and how fast the images came.

One million images of 64x64x3, 12 GB, within 2 GB of anonymous memory, from one array and from tars that are decoded first:

    python scripts/beyond_memory.py --source npy
    python scripts/beyond_memory.py --source tar

and JPEG files of 256x256, decoded in every epoch on two cores:

    python scripts/beyond_memory.py --source jpeg --images 5000 --size 256

Images are made once in --folder. The training runs in a process of its own, whose anonymous memory (RssAnon) is watched: too much
of it fails. Where control groups can be made (as root), the process is in one of --limit-gb too, which counts pages of files as
well.
"""

import argparse
import io
import os
import subprocess
import sys
import tarfile
import threading
import time
from pathlib import Path

import numpy as np

SHARD, CHUNK = 10_000, 1000  # images of a tar, and that are made together
GROUPS = (
    (Path("/sys/fs/cgroup/memory"), "memory:", "memory.limit_in_bytes"),
    (Path("/sys/fs/cgroup"), "0::", "memory.max"),
)


def chunks(count, size):
    """Smooth pictures of random colours, and a little noise, by their number alone: uint8 `(CHUNK, size, size, 3)` at a time."""
    from PIL import Image

    for start in range(0, count, CHUNK):
        random = np.random.default_rng(start)
        corners = random.integers(0, 256, (min(CHUNK, count - start), 4, 4, 3), np.uint8)
        yield np.stack([np.asarray(Image.fromarray(each).resize((size, size), Image.Resampling.BICUBIC)) for each in corners])


def encoded(image, kind):
    content = io.BytesIO()
    from PIL import Image

    Image.fromarray(image).save(content, kind, compress_level=1)  # of PNG; to make them must not take hours
    return content.getvalue()


def make(source, folder, count, size):
    """The images of a source, and where they are; those that are there already are taken."""
    path = folder / f"{source}-{count}-{size}"
    path = path.with_suffix(".npy") if source == "npy" else path
    if not path.exists():
        unfinished = folder / f"unfinished-{path.name}"
        {"npy": make_array, "tar": make_tars, "jpeg": make_files}[source](unfinished, count, size)
        unfinished.replace(path)
    return path


def make_array(path, count, size):
    array = np.lib.format.open_memmap(path, "w+", np.uint8, (count, size, size, 3))
    for number, images in enumerate(chunks(count, size)):
        array[number * CHUNK : number * CHUNK + len(images)] = images
    array.flush()


def make_tars(path, count, size):
    path.mkdir(exist_ok=True)
    numbered = (
        (number * CHUNK + row, image) for number, images in enumerate(chunks(count, size)) for row, image in enumerate(images)
    )
    for first in range(0, count, SHARD):
        with tarfile.open(path / f"{first // SHARD:05}.tar", "w") as file:
            for _ in range(min(SHARD, count - first)):
                number, image = next(numbered)
                for ending, content in (("png", encoded(image, "PNG")), ("cls", b"%d" % (number % 10))):
                    about = tarfile.TarInfo(f"{number:08}.{ending}")
                    about.size = len(content)
                    file.addfile(about, io.BytesIO(content))


def make_files(path, count, size):
    path.mkdir(exist_ok=True)
    for number, images in enumerate(chunks(count, size)):
        for row, image in enumerate(images):
            (path / f"{number * CHUNK + row:08}.jpg").write_bytes(encoded(image, "JPEG"))


def hold(limit):
    """Put this process into a control group of so many bytes, and tell whether that worked."""
    own = Path("/proc/self/cgroup").read_text().splitlines()
    for top, mark, name in GROUPS:
        places = [line.split(":", 2)[2] for line in own if mark in line]
        group = top / (places[0].lstrip("/") if places else "") / f"beyond-memory-{os.getpid()}"
        try:
            group.mkdir()
            (group / name).write_text(str(int(limit)))
            (group / "cgroup.procs").write_text(str(os.getpid()))
            return True
        except OSError:
            continue
    return False


def forget(path):
    """Drop the pages of files that the system still holds from when they were made, so that they are read from the disk."""
    for each in [path, *path.rglob("*")]:
        if each.is_file():
            file = os.open(each, os.O_RDONLY)
            os.fsync(file)
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(file)


def anonymous():
    """Bytes of memory of this process that are no pages of files."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return 1024 * int(lines["RssAnon"].split()[0])


class Watch(threading.Thread):
    """Looks at the anonymous memory twenty times a second, and keeps the most."""

    def __init__(self):
        super().__init__(daemon=True)
        self.most = 0

    def run(self):
        while True:
            self.most = max(self.most, anonymous())
            time.sleep(0.05)


def rate(batches, count, size):
    """Images a second of so many batches, without the first."""
    iterator = iter(batches)
    next(iterator)
    started = time.perf_counter()
    for _ in range(count):
        next(iterator)
    return count * size / (time.perf_counter() - started)


def train(path, asked):
    import keras

    import keras_genzoo as gz

    class Clock(keras.callbacks.Callback):
        """The seconds of the last epoch: the first one compiles."""

        def on_epoch_begin(self, epoch, logs=None):
            self.begun = time.perf_counter()

        def on_epoch_end(self, epoch, logs=None):
            self.seconds = time.perf_counter() - self.begun

    files, started = asked.source == "jpeg", time.perf_counter()
    settings = {"split": "all", "cache": False} if files else {"split": "train", "cache": "file"}
    data = gz.data.load(path, batch_size=asked.batch_size, shuffle=True, **settings)
    print(f"ready after {time.perf_counter() - started:.1f} s, with {data.images_count:,} images of {asked.size}x{asked.size}x3")
    steps = min(asked.steps, data.images_count // asked.batch_size - 1)
    print(f"images a second, read alone in their shuffled order: {rate(data.repeat(), steps, asked.batch_size):,.0f}")
    for name, batches in () if files else (("of the step alone", data.take(1).cache()), ("trained", data)):
        model, clock = gz.build(asked.recipe, (asked.size, asked.size, 3), seed=0), Clock()
        model.fit(batches.repeat(), steps_per_epoch=asked.steps, epochs=2, verbose=0, callbacks=[clock])
        print(f"images a second, {name} ({asked.recipe}): {asked.steps * asked.batch_size / clock.seconds:,.0f}")


def measure(path, asked):
    """What the process that is held and watched does."""
    from keras_genzoo.core.devices import cpu_name

    limit, cores = asked.limit_gb * 1e9, sorted(os.sched_getaffinity(0))[: asked.cores]
    os.sched_setaffinity(0, cores)
    held = hold(limit)
    watch = Watch()
    watch.start()
    forget(asked.folder)
    train(path, asked)
    print(f"most anonymous memory: {watch.most / 1e9:.2f} GB of {asked.limit_gb:g} GB", end="; ")
    print(
        "held by a control group, of which pages of files are a part" if held else "watched, as no control group can be made here"
    )
    print(f"machine: {cpu_name()}, {len(cores)} cores")
    return int(watch.most > limit)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--source", choices=["npy", "tar", "jpeg"], default="npy")
    parser.add_argument("--images", type=int, default=1_000_000)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--limit-gb", type=float, default=2.0)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--recipe", default="dense_autoencoder")
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=Path("runs/beyond_memory"))
    parser.add_argument("--held", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    path = make(asked.source, asked.folder, asked.images, asked.size)
    if asked.held:
        sys.exit(measure(path, asked))
    environment = {**os.environ, "KERAS_HOME": str(asked.folder / "keras"), "TF_CPP_MIN_LOG_LEVEL": "2"}
    sys.exit(subprocess.run([sys.executable, __file__, *sys.argv[1:], "--held"], env=environment).returncode)


if __name__ == "__main__":
    main()
