"""The upload app by the book, on which the servers in Python are measured."""
