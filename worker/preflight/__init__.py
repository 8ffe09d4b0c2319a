"""What `codalab-worker check` looks at: a room for each thing that can be wrong, with the mend for it."""
