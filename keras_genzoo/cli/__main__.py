"""`python -m keras_genzoo.cli`: the command `genzoo`."""

from keras_genzoo.cli import main

main(prog_name="genzoo")
