"""Put on the path of a process under test, not of the tests: what makes it fail from within."""
