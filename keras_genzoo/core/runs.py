"""What the folder of a run knows of it: `run.json` beside the model."""

import json
from pathlib import Path

from keras_genzoo.core import plugins
from keras_genzoo.core.files import read_json, replacing

NAME = "run.json"


def write(folder, recipe, imports=()):
    """Say in the folder of a run which recipe it trains, and what was imported for it (`plugins.import_named`)."""
    with replacing(Path(folder) / NAME) as temporary:
        temporary.write_text(json.dumps({"recipe": recipe, "imports": list(imports)}, indent=2) + "\n")


def import_for(file, given=()):
    """Import what the model in a file needs, as its folder tells, see `plugins.import_stored`."""
    plugins.import_stored(read_json(Path(file).parent / NAME).get("imports", []), given, what=str(file))
