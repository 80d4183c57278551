"""The command `genzoo`: train, sample, evaluate, tune and benchmark without writing Python."""

import click

from keras_genzoo.cli.benchmark import main as benchmark
from keras_genzoo.cli.doctor import doctor
from keras_genzoo.cli.models import evaluate, push, sample
from keras_genzoo.cli.options import OneSentence
from keras_genzoo.cli.prepare import prepare
from keras_genzoo.cli.project import project
from keras_genzoo.cli.recipes import list_recipes, show
from keras_genzoo.cli.score import score
from keras_genzoo.cli.train import train
from keras_genzoo.cli.tune import tune


@click.group(cls=OneSentence, context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--traceback", is_flag=True, help="Show the Python traceback of an error.")
@click.version_option(package_name="keras_genzoo")
def main(traceback):
    """Generative image models for Keras: train, sample, evaluate.

    \b
    Examples:
      genzoo train vae --out runs/vae
      genzoo sample runs/vae --out samples.png
      genzoo evaluate runs/vae
    """


for command in (list_recipes, show, prepare, train, sample, project, evaluate, score, tune, push, doctor):
    main.add_command(command)
main.add_command(benchmark, "benchmark")
