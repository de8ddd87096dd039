"""What a hostile peer does to a gateway, frame by frame: one catalogue for the tests and for the load test."""
