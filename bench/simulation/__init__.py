"""What cannot be measured on two cores: the modes on up to 512 workers, checked against what can."""
