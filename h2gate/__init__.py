"""An HTTP/2 upload gateway: many files stream over one connection to disk, and credit follows the disk."""
