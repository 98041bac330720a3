"""The rack's own meters: from what PDUs, bridges and building management say to readings in milliwatts."""
