"""The stages of a run, each wrapping the record of the one before."""
