"""Object storage: the only place of the trainer that reads or writes outside its own machine.

`store` is the doorway; `sources` fetches datasets and `models` models through it, or from the Hugging Face hub.
"""
