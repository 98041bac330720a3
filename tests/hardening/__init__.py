"""What an attacker of the host, or a mistake on it, gets: secrets, documents, what powerd is made of."""
