"""What the site's documents name, fetched and unpacked, and what a program's metadata says."""
