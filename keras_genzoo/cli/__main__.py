"""`python -m keras_genzoo.cli`: the command `genzoo`."""

from keras_genzoo.cli import main

if __name__ == "__main__":
    main(prog_name="genzoo")
