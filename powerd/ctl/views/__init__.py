"""What `powerctl` shows people, screen by screen."""
