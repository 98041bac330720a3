"""The daemon of one host: what is heard, THE LOOP, what is told, and how its parts are put together."""
