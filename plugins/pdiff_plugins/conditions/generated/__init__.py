"""Networks written by another network, which learns by the task's loss."""
