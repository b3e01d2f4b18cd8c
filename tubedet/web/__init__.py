"""A web page on which people try a model on their own videos; needs gradio, the extra ``web``."""
