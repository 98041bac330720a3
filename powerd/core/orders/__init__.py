"""What operators order, as far as it decides about watts."""
