"""Archives and folders that somebody hostile may have made: unpacked, packed, cleaned, removed."""
