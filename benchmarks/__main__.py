from keras_genzoo.cli.benchmark import main

main(prog_name="python -m benchmarks")
