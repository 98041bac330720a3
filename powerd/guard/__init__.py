"""The privileged side: the only process that touches NVML, and the dead-man's switch."""
