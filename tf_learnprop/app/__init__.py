"""The local web page of `tf-learnprop app`: photos, their classes, their maps, and what parts of them say.

`view` holds what the page shows as functions of arrays, `backends` and `served` answer for a model in this
process or behind TensorFlow Serving, and `page` is the only module that needs Gradio.
"""
