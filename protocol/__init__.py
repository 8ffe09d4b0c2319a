"""What travels on the wire between a CodaLab site and its worker, and nothing of how a run is worked."""
