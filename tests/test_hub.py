"""Models in folders with cards, and on a Hub, of which a server on this machine plays the part."""

import base64
import hashlib
import http.server
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from test_case import build

import keras_genzoo as gz
from keras_genzoo.cli import main

REVISION = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a run, as `genzoo train` leaves it."""
    out = tmp_path_factory.mktemp("runs") / "vae"
    command = [
        "train",
        "vae",
        "--out",
        str(out),
        "--steps",
        "1",
        "--batch-size",
        "5000",
        "--set",
        "width=4",
        "--no-jit",
        "--quiet",
    ]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.output
    return out


def test_a_folder_for_others_holds_a_card_and_loads(run, tmp_path):
    model = gz.load(run)
    record = json.loads((run / "run.json").read_text())
    model.save_pretrained(tmp_path / "vae", record, license="apache-2.0")
    assert sorted(path.name for path in (tmp_path / "vae").iterdir()) == ["README.md", "model.keras", "run.json", "samples.png"]
    np.testing.assert_array_equal(gz.load(tmp_path / "vae").sample(2, seed=1), model.sample(2, seed=1))
    card = (tmp_path / "vae" / "README.md").read_text()
    header, _, text = card.removeprefix("---\n").partition("---\n")
    assert "license: apache-2.0" in header and "- keras_genzoo" in header
    for part in ("# vae", "images of 28x28x1", "| width | `4` |", "fashion_mnist_mini", "10,000 train", "![Samples"):
        assert part in text
    bare = build("dense_autoencoder")
    bare.save_pretrained(tmp_path / "bare")
    assert "license" not in (tmp_path / "bare" / "README.md").read_text()


def test_the_picture_of_a_model_with_classes_has_a_row_for_each(tmp_path):
    model = build("conditional_gan")
    model.save_pretrained(tmp_path)
    expected = model.sample(60, seed=0, labels=np.repeat(np.arange(10), 6))
    gz.images.write_png(tmp_path / "expected.png", expected, 6)
    assert (tmp_path / "samples.png").read_bytes() == (tmp_path / "expected.png").read_bytes()


class Hub(http.server.BaseHTTPRequestHandler):
    """As much of the Hub's interface as an upload and a download of small files take."""

    files, seen, refused = {}, [], False

    def log_message(self, *_):
        pass

    def answer(self, value, code=200, **headers):
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(code)
        for name, text in {"Content-Length": str(len(body)), "X-Repo-Commit": REVISION, **headers}.items():
            self.send_header(name.replace("_", "-"), text)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Transfer-Encoding") == "chunked":
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        self.seen.append(self.path)
        if self.refused:
            self.answer({"error": "Invalid credentials."}, 401)
        elif self.path.endswith("/repos/create"):
            self.answer({"url": f"http://{self.headers['Host']}/me/vae", "id": "me/vae"})
        elif "/preupload/" in self.path:
            asked = json.loads(body)["files"]
            self.answer({"files": [{"path": each["path"], "uploadMode": "regular", "shouldIgnore": False} for each in asked]})
        elif "/commit/" in self.path:
            for line in body.splitlines():
                each = json.loads(line)
                if each["key"] == "file":
                    self.files[each["value"]["path"]] = base64.b64decode(each["value"]["content"])
            self.answer({"commitUrl": f"http://{self.headers['Host']}/me/vae/commit/{REVISION}", "commitOid": REVISION})
        else:
            self.answer({})

    def do_GET(self):
        self.seen.append(self.path)
        name = self.path.rpartition("/")[2].partition("?")[0]
        if "/resolve/" in self.path and name in self.files:
            self.answer(self.files[name], ETag=f'"{hashlib.sha256(self.files[name]).hexdigest()}"')
        elif "/resolve/" in self.path:
            code = "RepoNotFound" if "nothing" in self.path else "EntryNotFound"
            self.answer({"error": "not there"}, 404, X_Error_Code=code)
        elif "nothing" in self.path:
            self.answer({"error": "not there"}, 404, X_Error_Code="RepoNotFound")
        elif "/tree/" in self.path:
            self.answer([{"type": "file", "path": name, "size": len(data), "oid": "0"} for name, data in self.files.items()])
        else:
            found = [{"rfilename": name} for name in self.files]
            self.answer({"id": "me/vae", "sha": REVISION, "siblings": found})

    do_HEAD = do_GET


@pytest.fixture
def hub(tmp_path):
    """A process's environment in which this server is the Hub."""
    pytest.importorskip("huggingface_hub")
    Hub.files, Hub.seen, Hub.refused = {}, [], False
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    yield {**os.environ, "HF_ENDPOINT": address, "HF_HOME": str(tmp_path / "hf"), "HF_TOKEN": "hf_x", "HF_HUB_DISABLE_XET": "1"}
    server.shutdown()


def genzoo(environment, *arguments):
    command = [sys.executable, "-m", "keras_genzoo.cli", *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, cwd=Path(__file__).parents[1])


def test_a_run_is_pushed_and_sampled_from_the_hub(run, hub, tmp_path):
    pushed = genzoo(hub, "push", run, "me/vae", "--license", "cc0-1.0")
    assert pushed.returncode == 0, pushed.stderr
    assert pushed.stdout.strip().endswith(f"me/vae/commit/{REVISION}")
    assert set(Hub.files) == {"README.md", "model.keras", "run.json", "samples.png"}
    assert b'gz.load("hf://me/vae")' in Hub.files["README.md"] and b"license: cc0-1.0" in Hub.files["README.md"]
    sampled = genzoo(hub, "sample", "hf://me/vae", "--out", tmp_path / "s.npz", "-n", 3)
    assert sampled.returncode == 0, sampled.stderr
    expected = gz.images.to_levels(gz.load(run).sample(3, seed=0))
    np.testing.assert_array_equal(np.load(tmp_path / "s.npz")["images"], expected)
    missing = genzoo(hub, "sample", "hf://me/nothing")
    assert missing.returncode == 2 and "cannot load me/nothing" in missing.stderr and "Traceback" not in missing.stderr
    Hub.refused = True
    refused = genzoo(hub, "push", run, "me/vae")
    assert refused.returncode == 2 and "cannot push to me/vae" in refused.stderr and "hf auth login" in refused.stderr


def test_addresses_and_missing_packages_are_a_sentence(monkeypatch):
    with pytest.raises(ValueError, match="hf://vae is no address of a model, expected hf://user/name"):
        gz.load("hf://vae")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ImportError, match=r"huggingface_hub is needed; `pip install 'keras_genzoo\[hub\]'`"):
        gz.load("hf://me/vae")
