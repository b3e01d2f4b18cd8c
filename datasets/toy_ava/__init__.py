"""Parts of the toy AVA generator: the drawn figure, its actions, and the films made of them."""
