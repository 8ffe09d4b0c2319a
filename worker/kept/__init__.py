"""What a worker keeps on its disk: the folders of runs, what survives a crash, images, and room for more."""
