"""What every kind of the operator runs on: the doorway to the API server, watches, queue, leader, controller."""
