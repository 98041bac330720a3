"""What DSX Flex wants to be told, and when."""
