"""One run, from its delivery to the end that the site is told."""
