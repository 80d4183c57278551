"""Models in folders that explain themselves, and on the Hugging Face Hub."""

import contextlib
import re
import textwrap
from pathlib import Path

import keras

from keras_genzoo.core import runs, sheets
from keras_genzoo.core.files import replacing
from keras_genzoo.core.images import write_png

PREFIX = re.compile("hf:/+")  # `Path` makes one stroke of two
CARD, SAMPLES = "README.md", "samples.png"


class Pretrained:
    """The part of `GenerativeModel` that hands a trained model on."""

    def save_pretrained(self, folder, record=None, license=None):
        """Write a folder that another person can use: `model.keras`, a card, `README.md`, and a picture of samples.

        Args:
            folder: str or Path. Made if missing; files of these names are replaced.
            record: dict or None. What is known of the training, as `run.json` of `genzoo train` holds it: it is stored too, and
                the card tells recipe, hyperparameters and data. Defaults to None.
            license: str or None. Of the weights, by its short name, as "apache-2.0". Defaults to None, not told.

        Example:

        >>> model.save_pretrained("vae_fashion", license="apache-2.0")
        >>> gz.load("vae_fashion").name == model.name
        True
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self.save(folder / runs.MODEL)
        if record:
            runs.write(folder, record)
        if hasattr(self, "sample"):
            write_png(folder / SAMPLES, *sheets.samples(self, 64, 0))
        with replacing(folder / CARD) as temporary:
            temporary.write_text(card(self, record or {}, license))


def card(model, record, license=None, repo=None):
    """The card of a model, Markdown with the header that the Hub reads."""
    size = "x".join(map(str, model.image_shape))
    lines = ["---", "library_name: keras", "tags:", "- keras_genzoo", "- image-generation"]
    lines += [f"license: {license}", "---"] if license else ["---"]
    lines += [f"# {runs.renamed(record) or record.get('recipe', model.name)}", ""]
    lines += [f"A `{type(model).__name__}` of keras_genzoo for images of {size}, with {model.count_params():,} parameters.", ""]
    if hasattr(model, "sample"):
        lines += [f"![Samples, seed 0]({SAMPLES})", ""]
    lines += ["```python", "import keras_genzoo as gz", "", f'model = gz.load("{f"hf://{repo}" if repo else "."}")']
    lines += ["images = model.sample(16, seed=0)"] if hasattr(model, "sample") else []
    lines += ["```", ""]
    settings = record.get("hyperparameters")
    if settings:
        lines += [
            "| hyperparameter | value |",
            "|---|---|",
            *(f"| {name} | `{value!r}` |" for name, value in settings.items()),
            "",
        ]
    data = record.get("data", {})
    if data:
        counts = ", ".join(f"{each['count']:,} {split}" for split, each in data.get("images", {}).items())
        lines += [f"Trained on `{Path(str(data['source'])).name}` ({counts} images).", ""]
    versions = ", ".join(f"{name} {record['environment'][name]}" for name in VERSIONS) if "environment" in record else None
    lines += [f"Made with {versions}." if versions else f"Made with keras {keras.__version__}.", ""]
    return "\n".join(lines)


VERSIONS = ("keras_genzoo", "keras", "tensorflow")


def push(model, repo, folder, record=None, license=None, private=False):
    """Upload a model with its card to the Hugging Face Hub.

    Args:
        model: `GenerativeModel`.
        repo: str, "user/name". Made if missing.
        folder: Path of an empty folder, for the files.
        record, license: as in `save_pretrained`.
        private: bool. Whether a new repository is private. Defaults to False.

    Returns:
        str, the address.

    Raises:
        ImportError: huggingface_hub is missing.
        OSError: the Hub does not answer, or refuses.
    """
    with _hub(f"push to {repo}") as hub:
        model.save_pretrained(folder, record, license)
        (folder / CARD).write_text(card(model, record or {}, license, repo))
        api = hub.HfApi()
        api.create_repo(repo, private=private, exist_ok=True)
        return str(api.upload_folder(repo_id=repo, folder_path=folder, commit_message="Upload a keras_genzoo model").commit_url)


def is_remote(path):
    return bool(PREFIX.match(str(path)))


def located(path):
    """The file of a model: that, the one in the folder of a run, or of "hf://user/name" and "hf://user/name@revision" that in the
    Hub's cache.

    Raises:
        ValueError: no such address, or a folder without a model.
        ImportError, OSError: as in `push`.
    """
    if not is_remote(path):
        return runs.model_file(path)
    return snapshot(path, [runs.MODEL, runs.NAME]) / runs.MODEL  # and the record beside the model, where there is one


def snapshot(path, names):
    """The folder in the Hub's cache that holds files of these names of "hf://user/name" or "hf://user/name@revision".

    Raises:
        ValueError: no such address.
        ImportError, OSError: as in `push`.
    """
    repo, _, revision = PREFIX.sub("", str(path)).partition("@")
    if repo.count("/") != 1:
        raise ValueError(f"{path} is no address of a model, expected hf://user/name, or hf://user/name@revision.")
    with _hub(f"load {repo}") as hub:
        return Path(hub.snapshot_download(repo, revision=revision or None, allow_patterns=names))


def fetched(repo, file, revision=None):
    """The path of a file of a repository, in the Hub's cache.

    Raises:
        ImportError, OSError: as in `push`.
    """
    with _hub(f"fetch {file} of {repo}") as hub:
        return Path(hub.hf_hub_download(repo, file, revision=revision))


@contextlib.contextmanager
def _hub(what):
    try:
        import huggingface_hub
        from huggingface_hub import errors
    except ImportError as error:
        raise ImportError(f"to {what} huggingface_hub is needed; `pip install 'keras_genzoo[hub]'` installs it.") from error
    try:
        yield huggingface_hub
    except (errors.HfHubHTTPError, errors.LocalEntryNotFoundError) as error:
        why = textwrap.shorten(str(error), 300)
        raise OSError(f"cannot {what}: {why} Log in by `hf auth login` where the repository is not public.") from error
