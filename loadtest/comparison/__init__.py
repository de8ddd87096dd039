"""HTTP/2 beside HTTP/1.1, and h2gate beside what people would use instead: what is compared, and the run itself."""
