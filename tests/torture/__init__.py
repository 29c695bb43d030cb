"""What must never go wrong, tried: the short form is part of the tests, the long one is `./lab torture`."""
