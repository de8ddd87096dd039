"""Load tests: what h2gate and nginx do with the same bytes, on one machine or over a wide-area link."""
